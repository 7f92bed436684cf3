"""Intervals agree with scipy's, hold what they promise, and are the same every time."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from tests.support.runs import TASKS, recipe_of
from trivium.parts import metrics
from trivium.parts.tasks import Classification, Task
from trivium.run.folder.predictions import Answers
from trivium.run.verdict import bootstrap
from trivium.run.verdict.bootstrap import interval, row_scores, scores_of, seed_weights

ROWS = 250


def answers(task: Task, target_B: torch.Tensor, readout_BK: torch.Tensor) -> Answers:
    rows = [str(row) for row in range(len(target_B))]
    return Answers(
        task, [*range(len(rows))], [(r,) for r in rows], rows, rows, target_B, readout_BK
    )


def task_of(name: str) -> Task:
    return recipe_of([name]).tasks[name]


def drawn(name: str, seed: int) -> tuple[Answers, Answers]:
    """Two models' answers to the same rows, which agree more often than chance."""
    random, task = np.random.default_rng(seed), task_of(name)
    if name == "mood":
        target = torch.from_numpy(random.integers(2, size=ROWS))
        rights = random.random((2, ROWS)) < np.array([[0.8], [0.7]])
        said = [torch.where(torch.from_numpy(right), target, 1 - target) for right in rights]
        readouts = [torch.eye(2)[each] for each in said]
    elif name == "near":
        target = torch.from_numpy(random.uniform(0, 5, ROWS)).float()
        noises = torch.from_numpy(random.normal(size=(2, ROWS)) * [[1.0], [1.4]]).float()
        readouts = [(target + noise)[:, None] for noise in noises]
    else:
        target = torch.from_numpy((random.random((ROWS, 3)) < 0.4).astype(np.float32))
        flips = torch.from_numpy(random.random((2, ROWS, 3))) < 0.25
        readouts = [torch.where(flip, 1 - target, target) for flip in flips]
    first, second = (answers(task, target, readout_BK) for readout_BK in readouts)
    return first, second


def statistic_of(first: Answers, second: Answers) -> tuple[tuple[Any, ...], Callable[..., Any]]:
    """What scipy is asked: samples, and the difference of a metric between them."""
    if isinstance(first.task, Classification):
        rights = [(a.readout_BK.argmax(1) == a.target_B).double().numpy() for a in (first, second)]
        return tuple(rights), lambda a, b, axis=-1: b.mean(axis=axis) - a.mean(axis=axis)
    samples = (first.target_B, first.readout_BK[:, 0], second.readout_BK[:, 0])

    def difference(y: Any, a: Any, b: Any, axis: int = -1) -> Any:
        def r(x: Any) -> Any:
            x, z = x - x.mean(axis, keepdims=True), y - y.mean(axis, keepdims=True)
            return (x * z).sum(axis) / np.sqrt((x * x).sum(axis) * (z * z).sum(axis))

        return r(b) - r(a)

    return tuple(sample.double().numpy() for sample in samples), difference


@pytest.mark.parametrize("name", ["mood", "near"])
def test_the_interval_is_that_of_scipy(name: str) -> None:
    first, second = drawn(name, seed=1)
    score_SM = row_scores([first, second], 8000, lambda _: None)
    low, high = interval(score_SM[1] - score_SM[0])
    samples, statistic = statistic_of(first, second)
    wanted = stats.bootstrap(
        samples, statistic, paired=True, vectorized=True, n_resamples=8000, method="percentile",
        random_state=np.random.default_rng(2),
    )  # fmt: skip
    # A quantile of 8,000 draws at 2.5 % is known to about 0.03 standard deviations.
    near = 0.15 * wanted.standard_error
    assert low == pytest.approx(wanted.confidence_interval.low, abs=near)
    assert high == pytest.approx(wanted.confidence_interval.high, abs=near)
    assert (score_SM[1] - score_SM[0]).std() == pytest.approx(wanted.standard_error, rel=0.05)


@pytest.mark.parametrize("name", TASKS)
def test_a_score_is_the_tasks_own_also_of_rows_that_stand_several_times(name: str) -> None:
    first, second = drawn(name, seed=4)
    task = first.task
    assert scores_of([first, second]).tolist() == pytest.approx(
        [task.scores(a.readout_BK, a.target_B)[task.metric] for a in (first, second)], abs=1e-6
    )
    count_MR = np.random.default_rng(0).multinomial(ROWS, [1 / ROWS] * ROWS, size=20)
    fast = bootstrap.FAST[task.metric](second, count_MR.astype(np.float64))
    slow = bootstrap._slow(second, count_MR.astype(np.float64))
    assert fast.tolist() == pytest.approx(slow.tolist(), abs=1e-6)


def test_a_correlation_with_a_constant_is_0_as_in_the_metrics() -> None:
    task, target = task_of("near"), torch.arange(20) / 4
    flat = answers(task, target, torch.full((20, 1), 2.3))
    assert scores_of([flat]).tolist() == [0.0]
    assert metrics.regression(flat.readout_BK.squeeze(1), target)["pearson"] == 0
    # One row over and over: nothing varies in the resample.
    count_MR = np.zeros((1, 20))
    count_MR[0, 3] = 20
    varied = answers(task, target, target[:, None])
    assert bootstrap.resampled([varied], count_MR).tolist() == [[0.0]]


def test_under_the_null_about_95_percent_of_intervals_hold_0() -> None:
    """Two models that are right equally often, on 400 samples of rows."""
    random, task, held = np.random.default_rng(0), task_of("mood"), 0
    target = torch.zeros(200, dtype=torch.int64)
    eye = torch.eye(2)
    count_MR = np.concatenate([*bootstrap._draws(200, 1000, random)])
    for _ in range(400):
        wrong = torch.from_numpy((random.random((2, 200)) > 0.7).astype(np.int64))
        both = [answers(task, target, eye[each]) for each in wrong]
        score_SM = bootstrap.resampled(both, count_MR)
        low, high = interval(score_SM[1] - score_SM[0])
        held += low <= 0 <= high
    # 380 are expected, with a standard deviation of 4.4.
    assert 360 <= held <= 397


def test_seeds_are_drawn_with_replacement_and_count_one_together() -> None:
    weight_MS = seed_weights(3, 20_000, "shared")
    assert np.allclose(weight_MS.sum(axis=1), 1)
    assert weight_MS.mean(axis=0) == pytest.approx([1 / 3] * 3, abs=0.01)
    # The variance of a mean of 3 draws of 3 values is (n - 1) / n of the sample variance, over n.
    values = np.array([0.4, 0.5, 0.7])
    assert (weight_MS @ values).var() == pytest.approx(values.var() / 3, rel=0.05)
    assert (seed_weights(1, 5, "alone") == 1).all()
    assert not np.array_equal(weight_MS, seed_weights(3, 20_000, "other"))


def test_rows_are_drawn_alike_for_the_same_texts_and_else_independently() -> None:
    near, _ = drawn("near", seed=2)
    mood, _ = drawn("mood", seed=2)
    named = replace(near, task=near.task.model_copy(update={"name": "renamed"}))
    other = replace(near, texts=[(f"another {row}",) for row in range(ROWS)])

    def scores(of: Answers) -> Any:
        return row_scores([of], 1000, lambda _: None)[0]

    assert np.array_equal(scores(near), scores(named))
    assert abs(np.corrcoef(scores(near), scores(other))[0, 1]) < 0.1
    # Another task on the same rows: its mistakes are drawn with them.
    right = mood.readout_BK.argmax(dim=1) == mood.target_B
    target = torch.where(right, near.readout_BK[:, 0], near.target_B)
    assert np.corrcoef(scores(mood), scores(replace(near, target_B=target)))[0, 1] > 0.1


def test_the_same_answers_have_the_same_interval_every_time_and_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    both = drawn("near", seed=2)
    told: list[int] = []
    whole = row_scores(both, 300, told.append)
    monkeypatch.setattr(bootstrap, "CELLS_AT_ONCE", 7 * ROWS)
    assert row_scores(both, 300, told.append) == pytest.approx(whole, abs=1e-12)
    assert told == [300, *[7] * 42, 6]


def test_another_metric_is_computed_anew_with_fewer_resamples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    both = drawn("mood", seed=2)
    fast = row_scores(both, 500, lambda _: None)
    monkeypatch.setattr(bootstrap, "FAST", {})
    slow = row_scores(both, 500, lambda _: None)
    assert slow.shape == (2, bootstrap.SLOW_RESAMPLES)
    assert slow == pytest.approx(fast[:, : bootstrap.SLOW_RESAMPLES], abs=1e-12)
