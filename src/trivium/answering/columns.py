"""Columns that answers fill: what is added to a table's own, in a file or a DataFrame."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from trivium.answering.form import Form
from trivium.answering.says import Floats, Labels, OneLabel, Says, SeveralLabels
from trivium.errors import RecipeError
from trivium.types import Answer

Probabilities = bool | Literal["json"]
"""Of every label: none, a column each, or all of them as JSON in one column."""


@dataclass(frozen=True, slots=True)
class Detail:
    """What is told beside the answer itself."""

    probabilities: Probabilities = False
    top_k: int | None = None
    """So many of the most probable labels, each with its probability."""
    raw: bool = False
    """Scores as they are, too, as a run's own files have them."""

    def refuse_misfit(self, forms: Mapping[str, Form]) -> None:
        """Raises RecipeError for what is none, or what none of these tasks can tell."""
        if self.probabilities not in (False, True, "json"):
            raise RecipeError(
                f"probabilities: {self.probabilities!r} is none of False, True, 'json'."
            )
        if self.top_k is not None and (type(self.top_k) is not int or self.top_k < 1):
            raise RecipeError(f"top_k: {self.top_k!r} is no number of labels from 1 on.")
        asked = {"probabilities": self.probabilities is not False, "top_k": self.top_k is not None}
        of_labels = ", ".join(name for name, is_asked in asked.items() if is_asked)
        if of_labels and not any(isinstance(form.says, Labels) for form in forms.values()):
            raise RecipeError(
                f"{of_labels}: {', '.join(map(repr, forms))} answers with a score, and has no "
                "labels, which that is about; leave it out."
            )


def told(
    forms: Mapping[str, Form], readouts: Mapping[str, Floats], detail: Detail, *, prefixed: bool
) -> dict[str, list[Answer]]:
    """The columns of several tasks by name, each task's answer first.

    readouts: readout_BK by task; prefixed: whether names begin with the task's. Raises RecipeError
    where two tasks would fill one column.
    """
    found: dict[str, list[Answer]] = {}
    for name, readout_BK in readouts.items():
        says = forms[name].says
        assert says is not None
        for column, values in _of_one(says, readout_BK, detail).items():
            called = f"{name}_{column}" if prefixed else column
            if called in found:
                raise RecipeError(
                    f"tasks: a column {called!r} would be of task {name!r} and of another at once; "
                    "ask for them one by one."
                )
            found[called] = values
    return found


def _of_one(says: Says, readout_BK: Floats, detail: Detail) -> dict[str, list[Answer]]:
    if detail.raw:
        return says.kept(readout_BK)
    columns = says.columns(readout_BK, detailed=detail.probabilities is True)
    if isinstance(says, Labels):
        if detail.top_k is not None:
            columns |= _ranked(says, readout_BK, detail.top_k)
        if detail.probabilities == "json":
            columns["probabilities"] = [
                _as_json(says, row) for row in says.told(readout_BK).tolist()
            ]
    return columns


def certainty(says: Says, readout_BK: Floats) -> Floats:
    """How sure of each row a task is: certainty_B, on a scale of its own.

    Of one label the probability of the answer, as the column `confidence` has it (least confidence:
    Settles 2009, section 3.1); of several, how far the closest of them is from the threshold.
    Raises RecipeError for a score, which tells nothing of that.
    """
    if isinstance(says, OneLabel):
        most_B: Floats = readout_BK.max(axis=1)
        if says.decide is not None:
            most_B = says.decided(readout_BK).confidence_B.astype(np.float32)
        return most_B
    if isinstance(says, SeveralLabels):
        own = says.decide.thresholds if says.decide is not None else {}
        threshold_K = np.array([own.get(n, says.threshold) for n in says.names], dtype=np.float32)
        least_B: Floats = np.abs(says.told(readout_BK) - threshold_K).min(axis=1)
        return least_B
    raise RecipeError("a score comes without a certainty: ask a task that answers with labels.")


def _ranked(says: Labels, readout_BK: Floats, most: int) -> dict[str, list[Answer]]:
    readout_BK = says.told(readout_BK)
    order_BK = np.argsort(-readout_BK, axis=1, kind="stable")
    names, columns = says.names, dict[str, list[Answer]]()
    for place in range(min(most, says.outputs)):
        index_B = order_BK[:, place]
        columns[f"top_{place + 1}"] = [names[index] for index in index_B.tolist()]
        probability_B = np.take_along_axis(readout_BK, index_B[:, None], axis=1)[:, 0]
        columns[f"top_{place + 1}_probability"] = [round(p, 6) for p in probability_B.tolist()]
    return columns


def _as_json(says: Labels, row: list[float]) -> str:
    told = {name: round(p, 6) for name, p in zip(says.names, row, strict=True)}
    return json.dumps(told, ensure_ascii=False)
