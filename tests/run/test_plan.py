"""Plans: how many steps an epoch and a stage have, and how often each row is seen."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trivium.recipe import Recipe, Stage, parse_recipe
from trivium.run.training.plan import Plan, coverage, plan_stage

ROWS = {"big": 1000, "middle": 330, "small": 10}
SAMPLERS = ["joint", "round_robin", "sequential", "proportional", "sqrt", "temperature", "annealed"]
TASK = {"kind": "regression", "text": "a", "label": "y", "weight": 2}


def planned(rows: dict[str, int] | None = None, **stage: Any) -> tuple[Stage, Plan]:
    rows = rows or ROWS
    recipe: Recipe = parse_recipe({"tasks": dict.fromkeys(rows, TASK), "stages": [stage]})
    return recipe.stages[0], plan_stage(recipe.stages[0], recipe, rows)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_epoch_holds_one_pass_over_all_rows(sampler: str) -> None:
    _, plan = planned(sampler=sampler, batch_size=32, epochs=2)
    assert plan.batches == {"big": 32, "middle": 11, "small": 1}
    per_step = 3 if sampler == "joint" else 1
    assert plan.batches_per_step == per_step
    assert plan.steps_per_epoch == math.ceil(44 / per_step)
    assert (plan.steps, plan.epochs) == (2 * plan.steps_per_epoch, 2)
    assert plan.evaluate_every == plan.steps_per_epoch


@pytest.mark.parametrize(("sampler", "expected"), [("joint", 8), ("proportional", 22)])
def test_accumulated_batches_make_fewer_steps(sampler: str, expected: int) -> None:
    _, plan = planned(sampler=sampler, batches_per_step=2)
    assert plan.steps_per_epoch == expected


def test_batch_sizes_may_differ_by_task() -> None:
    _, plan = planned(batch_size={"big": 100, "small": 4})
    assert plan.batches == {"big": 10, "middle": 11, "small": 3}  # 32 where none is given


def test_a_cap_limits_the_rows_of_an_epoch() -> None:
    _, plan = planned(rows_per_epoch={"big": 64, "small": 10_000})
    assert plan.rows == {"big": 64, "middle": 330, "small": 10}
    assert plan.batches == {"big": 2, "middle": 11, "small": 1}
    assert plan.steps_per_epoch == 14


def test_adjusted_batches_let_all_tasks_end_an_epoch_together() -> None:
    _, plan = planned(batches="adjusted", batch_size=50, sampler="joint")
    assert plan.sizes == {"big": 50, "middle": 16, "small": 1}  # 1000 : 330 : 10, at least 1
    assert plan.batches == {"big": 20, "middle": 21, "small": 10}
    _, plain = planned(batches="adjusted")
    assert plain.sizes == {"big": 32, "middle": 11, "small": 1}


def test_adjusted_batches_go_by_the_rows_after_caps() -> None:
    _, plan = planned(batches="adjusted", rows_per_epoch={"big": 330})
    assert plan.sizes == {"big": 32, "middle": 32, "small": 1}


def test_a_reference_task_holds_larger_ones_back() -> None:
    _, plan = planned(reference="middle", batch_size=32)
    # middle has ceil(330 / 32) = 11 batches; big gets floor(11 * 330 / 1000) = 3, small all.
    assert plan.batches == {"big": 3, "middle": 11, "small": 1}
    assert plan.rows == {"big": 96, "middle": 330, "small": 10}


def test_a_task_far_larger_than_the_reference_keeps_one_batch() -> None:
    _, plan = planned(reference="small", batch_size=4)
    assert plan.batches == {"big": 1, "middle": 1, "small": 3}


def test_gradients_kept_apart_are_compared_every_ten_steps() -> None:
    _, plan = planned(sampler="joint", combiner="pcgrad")
    assert [step for step in range(25) if plan.measures_conflicts(step)] == [0, 10, 20]
    assert plan.epochs_done(plan.steps_per_epoch) == 1.0
    _, plain = planned(sampler="joint")
    assert not plain.measures_conflicts(0)


def test_a_stage_may_train_some_tasks_in_its_own_order() -> None:
    stage, plan = planned(tasks=["small", "big"], epochs=1)
    assert plan.tasks == ["small", "big"]
    assert list(plan.rows.values()) == [10, 1000]
    assert plan.steps == 33
    assert set(coverage(stage, plan)) == {"small", "big"}


@pytest.mark.parametrize(
    ("ends", "steps", "epochs"),
    [
        ({}, 132, 3),
        ({"epochs": 5}, 220, 5),
        ({"steps": 10}, 10, 1),
        ({"steps": 44}, 44, 1),
        ({"steps": 45}, 45, 2),
        ({"epochs": 1, "steps": 100}, 44, 1),
        ({"epochs": 3, "steps": 100}, 100, 3),
    ],
)
def test_a_stage_ends_at_whichever_comes_first(
    ends: dict[str, Any], steps: int, epochs: int
) -> None:
    _, plan = planned(**ends)
    assert (plan.steps, plan.epochs) == (steps, epochs)


def test_weights_are_the_stages_or_else_the_tasks() -> None:
    _, plan = planned(weights={"big": 0.5, "small": 0})
    assert plan.weights == {"big": 0.5, "middle": 2, "small": 0}


def test_intervals_follow_the_stage() -> None:
    _, plan = planned(evaluate_every=7, conflicts_every=3, sampler="joint")
    assert plan.evaluate_every == 7
    assert [step for step in range(8) if plan.measures_conflicts(step)] == [0, 3, 6]
    _, plan = planned()
    assert not any(plan.measures_conflicts(step) for step in range(8))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 10**6), min_size=1, max_size=4),
    st.sampled_from(SAMPLERS),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(1, 10**5) | st.none(),
)
def test_coverage_accounts_for_every_batch(
    sizes: list[int], sampler: str, per_step: int, epochs: int, steps: int | None
) -> None:
    rows = {f"t{index}": size for index, size in enumerate(sizes)}
    stage, plan = planned(
        rows, sampler=sampler, batches_per_step=per_step, epochs=epochs, steps=steps
    )
    found = coverage(stage, plan)
    drawn = sum(found[name] * plan.batches[name] for name in plan.tasks)
    assert drawn == pytest.approx(plan.steps * plan.batches_per_step)


def test_proportional_sampling_of_even_batches_shows_each_row_once_an_epoch() -> None:
    stage, plan = planned({"a": 3200, "b": 640, "c": 32}, sampler="proportional", epochs=3)
    assert coverage(stage, plan) == pytest.approx({"a": 3, "b": 3, "c": 3})


def test_round_robin_repeats_the_small_task() -> None:
    stage, plan = planned({"a": 320, "b": 32}, sampler="round_robin", epochs=1)
    assert coverage(stage, plan) == pytest.approx({"a": 0.55, "b": 5.5})


def test_coverage_of_an_annealed_stage_adds_up_its_epochs() -> None:
    stage, plan = planned({"a": 320, "b": 32}, sampler="annealed", epochs=2)
    small = 11 * (1 / 11) + 11 * (1 / (1 + 10**0.2))  # alpha 1, then 0.2
    assert coverage(stage, plan)["b"] == pytest.approx(small)


def test_coverage_counts_a_broken_epoch_in_part() -> None:
    stage, plan = planned({"a": 320, "b": 320}, sampler="joint", steps=15)
    assert (plan.steps_per_epoch, plan.epochs) == (10, 2)
    assert coverage(stage, plan) == pytest.approx({"a": 1.5, "b": 1.5})


def test_coverage_counts_passes_over_the_capped_rows() -> None:
    stage, plan = planned({"a": 3200, "b": 320}, rows_per_epoch={"a": 320}, epochs=4)
    assert coverage(stage, plan) == pytest.approx({"a": 4, "b": 4})


@pytest.mark.parametrize(("epoch", "steps"), [("mean", 14), ("shortest", 10), ("longest", 20)])
def test_an_epoch_of_all_tasks_together_ends_with_the_mean_the_shortest_or_the_longest(
    epoch: str, steps: int
) -> None:
    rows = {"a": 320, "b": 640, "c": 384}
    stage, plan = planned(rows, sampler={"kind": "joint", "epoch": epoch}, epochs=1)
    assert plan.steps_per_epoch == steps
    # Each step has a batch of every task, so the small ones are cycled while the longest lasts.
    assert coverage(stage, plan)["a"] == pytest.approx(steps / 10)


def test_a_reference_with_the_shortest_table_is_an_epoch_of_so_many_batches_of_the_largest() -> (
    None
):
    """As a report has it: floor(batches of the reference x its rows / rows of the large one)."""
    rows = {"sentiment": 8544, "paraphrase": 141506, "similarity": 6040}
    joint = {"kind": "joint", "epoch": "shortest"}
    _, plan = planned(rows, sampler=joint, reference="sentiment", batch_size=8, epochs=1)
    assert plan.steps == 1068 * 8544 // 141506 == 64
