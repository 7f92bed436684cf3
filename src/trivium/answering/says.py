"""What a task says of a row, from its readout: a label, several of them, or a score.

A readout stands on the answer's own scale: probabilities, or a score, which may lie beyond its
range: only what is answered is clipped. Shape letters: see `trivium.types`; arrays are NumPy's.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from trivium.part import Part
from trivium.types import Answer

Floats = NDArray[np.float32]

PROBABILITY = "probability_"
"""Begins the names of the columns that hold a label's probability."""
RAW = "raw"
"""Name of the column that holds a score that was not clipped."""


class Says(Part):
    """How answers are read off a readout."""

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Numbers of a row's readout, K."""

    @property
    @abstractmethod
    def names(self) -> Sequence[str]:
        """What each of the K numbers is the probability of; of a score `score`."""

    @abstractmethod
    def answers(self, readout_BK: Floats) -> list[Answer]:
        """A label's name, names joined, or a score per row."""

    def columns(self, readout_BK: Floats, *, detailed: bool) -> dict[str, list[Answer]]:  # noqa: ARG002 the seam
        """Columns of a prediction file. detailed: with each label's probability."""
        return {"prediction": self.answers(readout_BK)}

    def kept(self, readout_BK: Floats) -> dict[str, list[Answer]]:
        """Columns of a run's own files, from which the readout can be told again."""
        return self.columns(readout_BK, detailed=True)


class Labels(Says):
    """What all answers that are labels share."""

    labels: Mapping[str, str]
    """What stands in a label column -> the label's name, in the order of the outputs."""

    @property
    def outputs(self) -> int:
        return len(self.labels)

    @property
    def names(self) -> Sequence[str]:
        return list(self.labels.values())

    def columns(self, readout_BK: Floats, *, detailed: bool) -> dict[str, list[Answer]]:
        columns = super().columns(readout_BK, detailed=detailed)
        if detailed:
            for name, column_B in zip(self.names, readout_BK.T, strict=True):
                columns[f"{PROBABILITY}{name}"] = [round(p, 6) for p in column_B.tolist()]
        return columns


class OneLabel(Labels):
    """The most probable label."""

    says: Literal["one_label"] = "one_label"

    def answers(self, readout_BK: Floats) -> list[Answer]:
        names = self.names
        return [names[index] for index in readout_BK.argmax(axis=1).tolist()]

    def columns(self, readout_BK: Floats, *, detailed: bool) -> dict[str, list[Answer]]:
        columns = super().columns(readout_BK, detailed=detailed)
        confidence: list[Answer] = [round(p, 6) for p in readout_BK.max(axis=1).tolist()]
        prediction = columns.pop("prediction")
        return {"prediction": prediction, "confidence": confidence} | columns


class SeveralLabels(Labels):
    """Every label whose probability reaches the threshold."""

    says: Literal["several_labels"] = "several_labels"
    threshold: float
    separator: str

    def chosen(self, readout_BK: Floats) -> list[list[str]]:
        """Of each row the names of its labels."""
        # A plain number is compared in the precision of the array, as PyTorch does it.
        applies_BK = (readout_BK >= self.threshold).tolist()
        names = self.names
        return [[n for n, is_true in zip(names, row, strict=True) if is_true] for row in applies_BK]

    def answers(self, readout_BK: Floats) -> list[Answer]:
        return [self.separator.join(row) for row in self.chosen(readout_BK)]


class Score(Says):
    """A number within a range, to which the readout is clipped."""

    says: Literal["score"] = "score"
    range: tuple[float, float]

    @property
    def outputs(self) -> int:
        return 1

    @property
    def names(self) -> Sequence[str]:
        return ["score"]

    def answers(self, readout_BK: Floats) -> list[Answer]:
        score_B = readout_BK[:, 0].clip(*self.range)
        return [float(f"{score:.6g}") for score in score_B.tolist()]

    def kept(self, readout_BK: Floats) -> dict[str, list[Answer]]:
        """With the score as it is, to the bit of its fp32: what correlations are of."""
        raw: list[Answer] = [float(f"{score:.9g}") for score in readout_BK[:, 0].tolist()]
        return super().kept(readout_BK) | {RAW: raw}


AnySays = Annotated[OneLabel | SeveralLabels | Score, Field(discriminator="says")]


def probabilities(says: Says, readout_BK: Floats) -> list[dict[str, float]]:
    """Per row, each label's probability, to six decimals; of a score `prediction`."""
    columns = says.columns(readout_BK, detailed=True)
    chosen: dict[str, list[Any]] = {
        name.removeprefix(PROBABILITY): column
        for name, column in columns.items()
        if name.startswith(PROBABILITY)
    }
    chosen = chosen or {"prediction": columns["prediction"]}
    return [
        {name: float(column[row]) for name, column in chosen.items()}
        for row in range(len(readout_BK))
    ]
