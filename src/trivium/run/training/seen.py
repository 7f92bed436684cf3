"""Scores on rows that a run is trained on, beside those on dev: how far it has them by heart.

Nothing is chosen by them. The rows are a sample that depends on nothing but their number, so every
evaluation asks about the same ones, in a resumed run too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from trivium.parts.tasks import Task
from trivium.run.folder.scores import Metrics, TaskScores
from trivium.run.predictor.model import ModelPredictor
from trivium.run.predictor.scoring import evaluate_splits
from trivium.run.rows.sample import sample
from trivium.run.rows.splits import TRAIN, Data
from trivium.run.training.work import Work


def scores_on_seen(
    work: Work, names: Sequence[str], predictor: ModelPredictor | None = None
) -> dict[str, Metrics]:
    """By task; of the recipe's `train_rows` rows of each, if it has any, and of the first process.

    predictor: in place of the model that trains.
    """
    most = work.recipe.train_rows
    if most is None or not work.processes.first:
        return {}
    seen: Data = {}
    for name in names:
        rows, task = work.data[name][TRAIN], work.tasks[name]
        judged = [task.as_judged(row) for row in sample(rows.examples, most)]
        if found := [row for row in judged if row is not None]:
            seen[name] = {TRAIN: replace(rows, examples=found)}
    scores = evaluate_splits(predictor or work.predictor, seen, (TRAIN,)) if seen else {}
    return {name: of_task[TRAIN] for name, of_task in scores.items()}


def never_seen(tasks: Iterable[Task], data: Data) -> list[str]:
    """Those of the tasks whose training rows cannot be scored as their dev rows are."""
    return [t.name for t in tasks if t.as_judged(data[t.name][TRAIN].examples[0]) is None]


def beside(scores: TaskScores, seen: dict[str, Metrics]) -> TaskScores:
    """Scores with those on training rows as one more split."""
    return {
        name: of_task | ({TRAIN: seen[name]} if name in seen else {})
        for name, of_task in scores.items()
    }
