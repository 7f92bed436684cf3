"""The paired bootstrap of scores (Efron and Tibshirani 1993, chapters 8 and 13; for comparisons of
systems on one test set Koehn 2004, "Statistical significance tests for machine translation
evaluation").

Rows are drawn with replacement, the same rows for every system; and so are the seeds of each
system, by themselves. Letters: R rows, S seeds, M resamples.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from trivium.parts.metrics import f1
from trivium.parts.tasks import Task
from trivium.run.folder.predictions import Answers
from trivium.run.screen.progress import OnProgress

Array = NDArray[np.float64]

RESAMPLES = 5_000
SLOW_RESAMPLES = 200
"""Of a metric that must be computed anew for every resample."""
SLOW_PER_TEST = 80
"""And of so many for every task that is tested beside it: twice as many as Holm's correction must
have before any difference can be beyond noise."""
LEVEL = 0.95
CELLS_AT_ONCE = 4_000_000
"""Counts held at once, 32 MB: resamples go through in parts."""
_SEED = 20_040_725
"""Fixed, so that the same runs have the same verdict every time."""


def generator(*words: str) -> np.random.Generator:
    """Random numbers that depend on these words alone."""
    return np.random.default_rng([_SEED, *(zlib.crc32(word.encode()) for word in words)])


def scores_of(answers: Sequence[Answers]) -> Array:
    """The task's main metric in every run: score_S."""
    rows = len(answers[0].lines)
    return resampled(answers, np.ones((1, rows)))[:, 0]


def row_scores(
    answers: Sequence[Answers], resamples: int, on_progress: OnProgress, tests: int = 1
) -> Array:
    """The task's main metric of every run on resampled rows: score_SM.

    Equal draws for every system, and for tasks that are asked of the same texts: what one task's
    rows happen to be, the other's are, too.
    """
    rows, task = len(answers[0].lines), answers[0].task
    random = generator("rows", repr(answers[0].texts))
    parts = []
    for count_MR in _draws(rows, how_many(task, resamples, tests), random):
        parts.append(resampled(answers, count_MR))
        on_progress(len(count_MR))
    return np.concatenate(parts, axis=1)


def how_many(task: Task, resamples: int, tests: int = 1) -> int:
    """tests: tasks for which one decision is corrected."""
    slow = max(SLOW_RESAMPLES, SLOW_PER_TEST * tests)
    return resamples if task.metric in FAST else min(resamples, slow)


def seed_weights(seeds: int, resamples: int, system: str) -> Array:
    """What each seed of a system counts in every resample: weight_MS, each row's sum is 1."""
    weight_MS = generator("seeds", system).multinomial(seeds, [1 / seeds] * seeds, size=resamples)
    return weight_MS / seeds


def interval(difference_M: Array) -> tuple[float, float]:
    """The percentile interval."""
    low, high = np.quantile(difference_M, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def resampled(answers: Sequence[Answers], count_MR: Array) -> Array:
    """The main metric of every run where row r stands count_MR[m, r] times: score_SM."""
    task = answers[0].task
    return np.stack([FAST.get(task.metric, _slow)(run, count_MR) for run in answers])


def _draws(rows: int, resamples: int, random: np.random.Generator) -> Iterator[Array]:
    """How often each row is drawn: count_MR, in parts."""
    at_once = max(1, CELLS_AT_ONCE // max(1, rows))
    for start in range(0, resamples, at_once):
        many = min(at_once, resamples - start)
        drawn_MR = random.integers(rows, size=(many, rows))
        drawn_MR += np.arange(0, many * rows, max(1, rows))[:, None]  # one bin per resample and row
        count_MR = np.bincount(drawn_MR.ravel(), minlength=many * rows).reshape(many, rows)
        del drawn_MR
        yield count_MR.astype(np.float64)


# --- metrics of weighted rows: score_M ---------------------------------------------------------


def _accuracy(answers: Answers, count_MR: Array) -> Array:
    right_R = (answers.readout_BK.argmax(dim=1) == answers.target_B).double().numpy()
    return np.asarray(count_MR @ right_R / count_MR.sum(axis=1))


def _pearson(answers: Answers, count_MR: Array) -> Array:
    """From weighted moments; 0 where one side is constant, as in `metrics.regression`."""
    x_R = answers.readout_BK.squeeze(1).double().numpy()
    y_R = answers.target_B.double().numpy()
    x_R, y_R = x_R - x_R.mean(), y_R - y_R.mean()  # moments about the mean keep their digits
    moments = np.stack([x_R, y_R, x_R * x_R, y_R * y_R, x_R * y_R], axis=1)
    x_M, y_M, xx_M, yy_M, xy_M = (count_MR @ moments / count_MR.sum(axis=1, keepdims=True)).T
    spread_M = (xx_M - x_M**2) * (yy_M - y_M**2)
    is_flat_M = spread_M <= 1e-20 * max(1e-300, float((x_R**2).mean() * (y_R**2).mean()))
    covariance_M = np.where(is_flat_M, 0.0, xy_M - x_M * y_M)
    return np.asarray(covariance_M / np.sqrt(np.where(is_flat_M, 1.0, spread_M)))


def _micro_f1(answers: Answers, count_MR: Array) -> Array:
    threshold: float = answers.task.threshold  # type: ignore[attr-defined]
    predicted_RK, true_RK = answers.readout_BK >= threshold, answers.target_B > 0
    hits_R = (predicted_RK & true_RK).sum(dim=1).double()
    both_R = (predicted_RK.sum(dim=1) + true_RK.sum(dim=1)).double()
    counts_MR = torch.from_numpy(count_MR)
    return np.asarray(f1(counts_MR @ hits_R, counts_MR @ both_R).numpy())


def _slow(answers: Answers, count_MR: Array) -> Array:
    """Any metric: the task's own scores of the rows that were drawn."""
    task, values = answers.task, []
    for count_R in count_MR.astype(np.int64):
        place_B = torch.from_numpy(np.repeat(np.arange(len(count_R)), count_R))
        scores = task.scores(answers.readout_BK[place_B], answers.target_B[place_B])
        values.append(scores[task.metric])
    return np.asarray(values)


FAST: dict[str, Callable[[Answers, Array], Array]] = {
    "accuracy": _accuracy,
    "pearson": _pearson,
    "micro_f1": _micro_f1,
}
