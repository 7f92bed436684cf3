"""Scores: of one task's rows, of a run's splits, and the two overall means."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from trivium.parts import metrics
from trivium.parts.tasks import Task
from trivium.run.folder.names import predictions_file
from trivium.run.folder.predictions import write_predictions
from trivium.run.folder.scores import Metrics, TaskScores
from trivium.run.predictor.model import ModelPredictor
from trivium.run.rows.splits import JUDGED, Data, Split
from trivium.run.screen.progress import OnProgress, silent

ROWS_AT_ONCE = 4096
"""Rows that a predictor is asked about in one call: bounds memory, and tells how far it is."""


def readouts_of(
    predictor: ModelPredictor, data: Data, splits: Sequence[str], on_progress: OnProgress = silent
) -> dict[tuple[str, str], Tensor]:
    """What the predictor says of the labelled rows of these splits: task and split -> readout_BK.

    All tasks are asked about a split together, so that a text which several of them share goes
    through the encoder once.
    """
    readouts = {}
    for split in splits:
        rows = {
            name: [example.texts for example in of_task[split].examples]
            for name, of_task in data.items()
            if split in of_task
        }
        for name, readout_BK in in_parts(predictor, rows, on_progress).items():
            readouts[name, split] = readout_BK
    return readouts


def in_parts(
    predictor: ModelPredictor,
    rows: Mapping[str, Sequence[tuple[str, ...]]],
    on_progress: OnProgress,
) -> dict[str, Tensor]:
    """What the predictor says of many rows, so many at once: readout_BK by task."""
    parts: dict[str, list[Tensor]] = {name: [] for name in rows}
    most = max(map(len, rows.values()), default=0)
    for start in range(0, max(1, most), ROWS_AT_ONCE):
        # The same place in every table: tasks on the same file ask about the same rows.
        some = {
            name: own[start : start + ROWS_AT_ONCE]
            for name, own in rows.items()
            if start == 0 or start < len(own)
        }
        for name, readout_BK in predictor.readouts(some).items():
            parts[name].append(readout_BK)
        on_progress(sum(map(len, some.values())))
    return {name: torch.cat(each) for name, each in parts.items()}


def score(task: Task, readout_BK: Tensor, split: Split) -> Metrics:
    """A task's metrics of a split's labelled rows, and how many `rows` these are. readout_BK: of
    them.
    """
    targets = [example.target for example in split.examples if example.target is not None]
    return task.scores(readout_BK, task.targets(targets)) | {"rows": len(targets)}


def evaluate_splits(
    predictor: ModelPredictor,
    data: Data,
    splits: Sequence[str] = ("dev",),
    on_progress: OnProgress = silent,
) -> TaskScores:
    """Scores of every task on each of its splits."""
    readouts = readouts_of(predictor, data, splits, on_progress)
    return {
        name: {
            split: score(predictor.tasks[name], readouts[name, split], of_task[split])
            for split in of_task
            if split in splits
        }
        for name, of_task in data.items()
    }


def evaluate_into(
    folder: Path, predictor: ModelPredictor, data: Data, on_progress: OnProgress = silent
) -> TaskScores:
    """Scores of every task on its dev and test rows, with a file of predictions for each.

    folder: of the run.
    """
    scores: TaskScores = {name: {} for name in data}
    for (name, split), readout_BK in readouts_of(predictor, data, JUDGED, on_progress).items():
        task, rows = predictor.tasks[name], data[name][split]
        scores[name][split] = score(task, readout_BK, rows)
        if task.answers_questions:
            write_predictions(folder / predictions_file(name, split), task, readout_BK, rows)
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
