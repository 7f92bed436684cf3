"""Scores: of one task's rows, of a run's splits, and the two overall means."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from trivium.parts import metrics
from trivium.parts.tasks import Task
from trivium.run.data import Data, Split
from trivium.run.predict import Predictor

ROWS_AT_ONCE = 20_000

Scores = dict[str, dict[str, dict[str, float]]]
"""task -> split -> metric -> value, with the number of rows as `rows`."""


def readout_of(predictor: Predictor, task: Task, split: Split) -> Tensor:
    """What the predictor says of a split's labelled rows: readout_BK."""
    return predictor.readout(task.name, [example.texts for example in split.examples])


def score(task: Task, readout_BK: Tensor, split: Split) -> dict[str, float]:
    targets = [example.target for example in split.examples if example.target is not None]
    return task.scores(readout_BK, task.targets(targets)) | {"rows": len(targets)}


def evaluate(predictor: Predictor, data: Data, splits: Sequence[str] = ("dev",)) -> Scores:
    """Scores of every task on each of its splits."""
    return {
        name: {
            split: score(predictor.tasks[name], readout_of(predictor, predictor.tasks[name], s), s)
            for split, s in of_task.items()
            if split in splits
        }
        for name, of_task in data.items()
    }


def overall(tasks: Mapping[str, Task], scores: Scores) -> dict[str, dict[str, float]]:
    """Per split, the mean over tasks of their main metric.

    `leaderboard` counts a correlation r as (r + 1) / 2, `mean` takes it as it is. A split that
    some task lacks has neither.
    """
    splits = {split: None for of_task in scores.values() for split in of_task}
    found = {}
    for split in splits:
        if all(split in of_task for of_task in scores.values()):
            each = {name: of_task[split] for name, of_task in scores.items()}
            found[split] = {
                "leaderboard": metrics.mean([tasks[n].leaderboard(s) for n, s in each.items()]),
                "mean": metrics.mean([s[tasks[n].metric] for n, s in each.items()]),
            }
    return found


def write_predictions(path: Path, task: Task, readout_BK: Tensor, split: Split) -> None:
    """A split's answers in input order: line, texts, true label, prediction, probabilities."""
    columns = task.columns(readout_BK, detailed=True)
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["line", *task.text_columns, "label", *columns])
        for row, example in enumerate(split.examples):
            true = None if example.target is None else task.answer_of(example.target)
            cells: list[Any] = [example.line, *example.texts, true]
            writer.writerow([*cells, *(column[row] for column in columns.values())])
