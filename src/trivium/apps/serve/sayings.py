"""What was said of rows, as JSON: the same labels and numbers as `trivium predict` writes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trivium.answering.form import Form
from trivium.answering.says import PROBABILITY, Floats, Says, Score, SeveralLabels
from trivium.apps.serve.asks import Failed, RowAsk
from trivium.apps.serve.errors import Detail
from trivium.apps.serve.front import COMPUTES, Answers, failure


def answers_by_row(
    found: Answers, forms: Mapping[str, Form], *, probabilities: bool, top_k: int | None
) -> list[dict[str, Any]]:
    """Per row and task the prediction and what was asked beside it; `error` of rows that failed."""
    rows: list[dict[str, Any]] = []
    for number, said in enumerate(found.said):
        if isinstance(said, Failed):
            rows.append(failure_of_row(number, said))
            continue
        rows.append(dict.fromkeys(said))  # the order of the tasks
    for task, (places, readout_BK) in by_task(found).items():
        says = says_of(forms[task])
        each = _said_of_task(says, readout_BK, probabilities=probabilities, top_k=top_k)
        for place, answer in zip(places, each, strict=True):
            if (was_cut := cut_of(found.rows[place], task)) is not None:
                answer["cut"] = was_cut
            rows[place][task] = answer
    return rows


def by_task(found: Answers) -> dict[str, tuple[list[int], Floats]]:
    """Of each task the rows that it answers, and what it says of them: readout_BK."""
    places: dict[str, list[int]] = {}
    readouts: dict[str, list[Floats]] = {}
    for number, said in enumerate(found.said):
        if isinstance(said, Failed):
            continue
        for task, readout_K in said.items():
            places.setdefault(task, []).append(number)
            readouts.setdefault(task, []).append(readout_K)
    return {task: (places[task], np.stack(readouts[task])) for task in places}


def says_of(form: Form) -> Says:
    assert form.says is not None
    return form.says


def scored(says: Says, readout_BK: Floats, top_k: int | None) -> list[list[dict[str, Any]]]:
    """Per row its labels with their probabilities, the most probable first; a score alone."""
    if isinstance(says, Score):
        return [[{"label": says.names[0], "score": score}] for score in says.answers(readout_BK)]
    names, readout_BK = says.names, says.told(readout_BK)
    most = len(names) if top_k is None else top_k
    rows = []
    for row, order in zip(
        readout_BK.tolist(), np.argsort(-readout_BK, axis=1, kind="stable"), strict=True
    ):
        best = [(names[k], row[k]) for k in order[:most].tolist()]
        rows.append([{"label": n, "score": round(p, 6)} for n, p in best])
    return rows


def failure_of_row(number: int, failed: Failed) -> dict[str, Any]:
    """The error in place of a row's answers."""
    return failure([Detail(f"rows[{number}]", failed.why, COMPUTES)]).plain()


def cut_of(row: RowAsk, task: str) -> dict[str, int] | None:
    """Tokens that a task would have read, and those that were kept; None: all were.

    Of an ensemble, what the member that keeps least does.
    """
    least: dict[str, int] | None = None
    for asked in row.asked:
        if asked.task != task:
            continue
        tokens = sum(line.uncut for line in asked.lines)
        kept = sum(len(line.ids) for line in asked.lines)
        if kept < tokens and (least is None or kept < least["kept"]):
            least = {"tokens": tokens, "kept": kept}
    return least


def _said_of_task(
    says: Says, readout_BK: Floats, *, probabilities: bool, top_k: int | None
) -> list[dict[str, Any]]:
    columns = says.columns(readout_BK, detailed=probabilities)
    plain = [n for n in columns if not n.startswith(PROBABILITY)]
    labelled = {n.removeprefix(PROBABILITY): n for n in columns if n.startswith(PROBABILITY)}
    rows: list[dict[str, Any]] = []
    for number in range(len(readout_BK)):
        row: dict[str, Any] = {name: columns[name][number] for name in plain}
        if labelled:
            row["probabilities"] = {label: columns[n][number] for label, n in labelled.items()}
        rows.append(row)
    if isinstance(says, SeveralLabels):
        _add(rows, "labels", says.chosen(readout_BK))
    if top_k is not None and not isinstance(says, Score):
        _add(rows, "top", scored(says, readout_BK, top_k))
    return rows


def _add(rows: Sequence[dict[str, Any]], key: str, values: Sequence[Any]) -> None:
    for row, value in zip(rows, values, strict=True):
        row[key] = value
