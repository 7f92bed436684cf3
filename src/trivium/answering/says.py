"""What a task says of a row, from its readout: a label, several of them, or a score.

A readout stands on the answer's own scale: probabilities, or a score, which may lie beyond its
range: only what is answered is clipped. Shape letters: see `trivium.types`; arrays are NumPy's.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from trivium.answering.decide import ABSTAINED, Decide, Decided, one_label, several_labels
from trivium.part import Part
from trivium.types import Answer

Floats = NDArray[np.float32]

PROBABILITY = "probability_"
"""Begins the names of the columns that hold a label's probability."""
RAW = "raw"
"""Name of the column that holds a score that was not clipped."""
ANSWERED = "answered"
"""Name of the column that tells, where a task may abstain, whether it did not: yes or no."""


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

    def told(self, readout_BK: Floats) -> Floats:
        """The readout as people are told it: calibrated, where something was found for that."""
        return readout_BK

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
    decide: Decide | None = None
    """How answers are decided upon, where `trivium calibrate` found it. None: as the readout is."""

    @model_serializer(mode="wrap")
    def _without_nothing(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = dump(self)
        if values.get("decide", 0) is None:
            del values["decide"]
        return values

    @abstractmethod
    def decided(self, readout_BK: Floats) -> Decided:
        """What is decided of the rows, by `decide` or without it."""

    @property
    def abstains(self) -> bool:
        """Whether rows may be left without an answer."""
        return self.decide is not None and self.decide.abstain is not None

    def told(self, readout_BK: Floats) -> Floats:
        if self.decide is None:
            return readout_BK
        told_BK: Floats = self.decided(readout_BK).told_BK.astype(np.float32)
        return told_BK

    @property
    def outputs(self) -> int:
        return len(self.labels)

    @property
    def names(self) -> Sequence[str]:
        return list(self.labels.values())

    def marks(self, readout_BK: Floats) -> dict[str, list[Answer]]:
        """A column that tells which rows are answered; none of a task that always does. Without it
        an empty answer could be that no label applies."""
        if not self.abstains:
            return {}
        is_answered = self.decided(readout_BK).answered_B.tolist()
        return {ANSWERED: ["yes" if each else "no" for each in is_answered]}

    def columns(self, readout_BK: Floats, *, detailed: bool) -> dict[str, list[Answer]]:
        columns = super().columns(readout_BK, detailed=detailed)
        if detailed:
            for name, column_B in zip(self.names, self.told(readout_BK).T, strict=True):
                columns[f"{PROBABILITY}{name}"] = [round(p, 6) for p in column_B.tolist()]
        return columns


class OneLabel(Labels):
    """The most probable label."""

    says: Literal["one_label"] = "one_label"

    def decided(self, readout_BK: Floats) -> Decided:
        return one_label(self.decide or Decide(), self.names, readout_BK)

    def answers(self, readout_BK: Floats) -> list[Answer]:
        names = self.names
        if self.decide is None:
            return [names[index] for index in readout_BK.argmax(axis=1).tolist()]
        found = self.decided(readout_BK)
        each = zip(found.said.tolist(), found.answered_B.tolist(), strict=True)
        return [names[index] if is_answered else ABSTAINED for index, is_answered in each]

    def columns(self, readout_BK: Floats, *, detailed: bool) -> dict[str, list[Answer]]:
        columns = super().columns(readout_BK, detailed=detailed)
        sure_B = readout_BK.max(axis=1)
        if self.decide is not None:
            sure_B = self.decided(readout_BK).confidence_B
        confidence: list[Answer] = [round(p, 6) for p in sure_B.tolist()]
        told: dict[str, list[Answer]] = {
            "prediction": columns.pop("prediction"),
            "confidence": confidence,
        }
        return told | self.marks(readout_BK) | columns


class SeveralLabels(Labels):
    """Every label whose probability reaches the threshold."""

    says: Literal["several_labels"] = "several_labels"
    threshold: float
    separator: str

    def decided(self, readout_BK: Floats) -> Decided:
        return several_labels(self.decide or Decide(), self.names, self.threshold, readout_BK)

    def chosen(self, readout_BK: Floats) -> list[list[str]]:
        """Of each row the names of its labels."""
        names = self.names
        if self.decide is None:
            # A plain number is compared in the precision of the array, as PyTorch does it.
            applies_BK = readout_BK >= self.threshold
        else:
            found = self.decided(readout_BK)
            applies_BK = found.said.astype(bool) & found.answered_B[:, None]
        each = applies_BK.tolist()
        return [[n for n, is_true in zip(names, row, strict=True) if is_true] for row in each]

    def answers(self, readout_BK: Floats) -> list[Answer]:
        return [self.separator.join(row) for row in self.chosen(readout_BK)]

    def columns(self, readout_BK: Floats, *, detailed: bool) -> dict[str, list[Answer]]:
        columns = super().columns(readout_BK, detailed=detailed)
        if not self.abstains:
            return columns
        prediction = columns.pop("prediction")
        return {"prediction": prediction} | self.marks(readout_BK) | columns


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
