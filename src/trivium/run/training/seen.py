"""Scores on rows that a run is trained on, beside those on dev: how far it has them by heart.

Nothing is chosen by them. The rows are a sample that depends on nothing but their number, so every
evaluation asks about the same ones, in a resumed run too.
"""

from collections.abc import Sequence
from dataclasses import replace

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
        rows = work.data[name][TRAIN]
        seen[name] = {TRAIN: replace(rows, examples=sample(rows.examples, most))}
    scores = evaluate_splits(predictor or work.predictor, seen, (TRAIN,))
    return {name: of_task[TRAIN] for name, of_task in scores.items()}


def beside(scores: TaskScores, seen: dict[str, Metrics]) -> TaskScores:
    """Scores with those on training rows as one more split."""
    return {
        name: of_task | ({TRAIN: seen[name]} if name in seen else {})
        for name, of_task in scores.items()
    }
