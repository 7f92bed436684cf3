"""Scores: of one task's rows, of a run's splits, and the two overall means."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from trivium.parts import metrics
from trivium.parts.tasks import Task
from trivium.run.folder.names import predictions_file
from trivium.run.folder.predictions import write_predictions
from trivium.run.folder.scores import Metrics, TaskScores
from trivium.run.predictor.base import Predictor
from trivium.run.rows.splits import JUDGED, Data, Split

ROWS_AT_ONCE = 4096
"""Rows that a predictor is asked about in one call: bounds memory, and tells how far it is."""

Told = Callable[[int], object]
"""Called with the number of rows that were answered since the last call."""


def silent(_rows: int) -> None:
    pass


def readout_of(predictor: Predictor, task: Task, split: Split, told: Told = silent) -> Tensor:
    """What the predictor says of a split's labelled rows: readout_BK."""
    rows = [example.texts for example in split.examples]
    parts = []
    for start in range(0, max(1, len(rows)), ROWS_AT_ONCE):
        some = rows[start : start + ROWS_AT_ONCE]
        parts.append(predictor.readout(task.name, some))
        told(len(some))
    return torch.cat(parts)


def score(task: Task, readout_BK: Tensor, split: Split) -> Metrics:
    targets = [example.target for example in split.examples if example.target is not None]
    return task.scores(readout_BK, task.targets(targets)) | {"rows": len(targets)}


def evaluate_splits(
    predictor: Predictor, data: Data, splits: Sequence[str] = ("dev",), told: Told = silent
) -> TaskScores:
    """Scores of every task on each of its splits."""
    return {
        name: {
            split: score(task, readout_of(predictor, task, of_task[split], told), of_task[split])
            for split in of_task
            if split in splits
        }
        for name, of_task in data.items()
        for task in (predictor.tasks[name],)
    }


def evaluate_into(
    folder: Path, predictor: Predictor, data: Data, told: Told = silent
) -> TaskScores:
    """Scores of every task on its dev and test rows, with a file of predictions for each.

    folder: of the run.
    """
    scores: TaskScores = {}
    for name, splits in data.items():
        scores[name], task = {}, predictor.tasks[name]
        for split in (s for s in JUDGED if s in splits):
            readout_BK = readout_of(predictor, task, splits[split], told)
            scores[name][split] = score(task, readout_BK, splits[split])
            if task.answers_questions:
                path = folder / predictions_file(name, split)
                write_predictions(path, task, readout_BK, splits[split])
    return scores


def rows_in(data: Data, splits: Sequence[str]) -> int:
    """Labelled rows of these splits, of all tasks together."""
    return sum(
        len(s.examples) for of_task in data.values() for n, s in of_task.items() if n in splits
    )


def overall(tasks: Mapping[str, Task], scores: TaskScores) -> dict[str, Metrics]:
    """Per split, the mean over tasks of their main metric.

    `leaderboard` counts a correlation r as (r + 1) / 2, `mean` takes it as it is. A split that
    some task lacks has neither. Auxiliary tasks do not count, unless there are no others.
    """
    ends = {name: found for name, found in scores.items() if not tasks[name].auxiliary} or scores
    splits = {split: None for of_task in ends.values() for split in of_task}
    found = {}
    for split in splits:
        if all(split in of_task for of_task in ends.values()):
            each = {name: of_task[split] for name, of_task in ends.items()}
            found[split] = {
                "leaderboard": metrics.mean([tasks[n].leaderboard(s) for n, s in each.items()]),
                "mean": metrics.mean([s[tasks[n].metric] for n, s in each.items()]),
            }
    return found
