"""Training that ends in time: the steps that fit, hand-computed; and what timing them leaves."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import trivium
from tests.support.shell import spoken
from tests.support.tables import make_recipe
from trivium.errors import RecipeError
from trivium.recipe import Stage, parse_recipe
from trivium.run.training.minutes import JUDGING, MARGIN, as_begun, fit, notes_on, shortened
from trivium.run.training.pace import Pace
from trivium.run.training.plan import Plan


def plan(steps: int, evaluate_every: int) -> Plan:
    return Plan(
        tasks=["t"], rows={"t": 1}, sizes={"t": 1}, batches={"t": 1}, weights={"t": 1.0},
        steps_per_epoch=evaluate_every, steps=steps, epochs=1, evaluate_every=evaluate_every,
        batches_per_step=1, conflicts_every=None,
    )  # fmt: skip


def stages(*names: str, **settings: Any) -> list[Stage]:
    return [Stage(name=name, **settings) for name in names]


def test_a_recipe_that_is_in_time_stays_as_it_is() -> None:
    found = fit(stages("a"), [plan(100, 50)], [Pace(0.1, 1.0)], seconds=14)
    assert [(each.steps, each.evaluations, each.is_cut) for each in found] == [(100, 2, False)]
    assert found[0].seconds == pytest.approx(12)


def test_steps_are_what_is_left_after_judging() -> None:
    # Of 10 s, 9 are used: 2 evaluations take 1 s together (the most is 1.8), and 8 s are 80 steps.
    found = fit(stages("a"), [plan(100, 50)], [Pace(0.1, 0.5)], seconds=10)
    assert [(each.steps, each.evaluations) for each in found] == [(80, 2)]


def test_dear_evaluations_are_fewer_and_one_is_left() -> None:
    # Of 9 s at most 1.8 go to 10 evaluations of 1 s each: one; 8 s are left for 80 steps.
    found = fit(stages("a"), [plan(100, 10)], [Pace(0.1, 1.0)], seconds=10)
    assert [(each.steps, each.evaluations) for each in found] == [(80, 1)]


def test_stages_are_cut_by_the_same_share() -> None:
    # 9 s less two evaluations of 0.5 s: 8 of 16 s, so half of each.
    both = [plan(40, 40), plan(120, 120)]
    found = fit(stages("a", "b"), both, [Pace(0.1, 0.5)] * 2, seconds=10)
    assert [each.steps for each in found] == [20, 60]


def test_a_stage_that_is_cut_within_its_warm_up_says_so() -> None:
    warm = [{"kind": "linear", "warmup": warmup} for warmup in (80, 79, 0.9)]
    made = [Stage(name=name, schedule=how) for name, how in zip("abc", warm, strict=True)]
    # 80 of 100 steps each, as above.
    found = fit(made, [plan(100, 50)] * 3, [Pace(0.1, 0.5)] * 3, seconds=30)
    assert [each.steps for each in found] == [80, 80, 80]
    assert [*notes_on(found)] == [
        "stage a: its 80 steps end within its warm-up of 80, so that its learning rates are never "
        "reached; a `warmup` below 1 is a share of the steps there are"
    ]
    in_time = fit(made[:1], [plan(80, 50)], [Pace(0.1, 0.5)], seconds=60)
    assert not [*notes_on(in_time)]  # the preview has told


def test_a_guard_judges_once_more() -> None:
    guarded = [*stages("a"), *stages("b", guard=0.9)]
    found = fit(guarded, [plan(40, 40), plan(120, 120)], [Pace(0.1, 0.5)] * 2, seconds=10)
    assert [each.steps for each in found] == [18, 56]  # 7.5 of 16 s


def test_no_time_for_one_step_is_refused() -> None:
    with pytest.raises(RecipeError, match="one evaluation of each stage take some 3 s"):
        fit(stages("a"), [plan(9, 9)], [Pace(1.0, 2.0)], seconds=3)


@given(
    st.lists(
        st.tuples(
            st.integers(1, 10_000), st.integers(1, 500), st.floats(1e-3, 2), st.floats(1e-3, 20)
        ),
        min_size=1,
        max_size=4,
    ),
    st.floats(0.1, 5000),
)
@settings(deadline=None)
def test_what_is_planned_is_in_time_and_judged(
    given_stages: list[tuple[int, int, float, float]], seconds: float
) -> None:
    plans = [plan(steps, every) for steps, every, _, _ in given_stages]
    paces = [Pace(step_s, judge_s) for *_, step_s, judge_s in given_stages]
    names = stages(*(f"s{n}" for n in range(len(plans))))
    try:
        found = fit(names, plans, paces, seconds)
    except RecipeError:
        assert sum(p.step_s + p.judge_s for p in paces) > seconds * (1 - MARGIN)
        return
    # A stage has one step at least, whatever its share.
    slack = sum(pace.step_s for pace in paces)
    assert sum(each.seconds for each in found) <= seconds * (1 - MARGIN) + slack
    for each, one in zip(found, plans, strict=True):
        assert 1 <= each.steps <= one.steps
        assert 1 <= each.evaluations <= each.steps
    assert JUDGING < 1


def test_the_recipe_of_a_run_says_its_steps_and_is_resumed_with_them() -> None:
    task = {"kind": "classification", "text": "a", "label": "y", "labels": ["x", "y"]}
    recipe = parse_recipe({"tasks": {"t": task}, "stages": [{"epochs": 5}]}, "")
    timed = fit(recipe.stages, [plan(100, 50)], [Pace(0.1, 0.5)], seconds=10)
    short = shortened(recipe, timed)
    assert (short.stages[0].steps, short.stages[0].evaluate_every) == (80, 40)
    assert as_begun(recipe, short) == short


# --- timing ------------------------------------------------------------------------------------


def test_timing_leaves_no_trace_in_what_is_trained(tiny: Path, tmp_path: Path) -> None:
    values = make_recipe(tiny, tmp_path)
    values["stages"] = [{"steps": 4}]
    plain = trivium.train(values, tmp_path / "plain")
    timed = trivium.train(values, tmp_path / "timed", minutes=60)
    assert plain["tasks"] == timed["tasks"]
    for name in ("model.safetensors", "heads.safetensors"):
        one, two = (tmp_path / run / "model" / name for run in ("plain", "timed"))
        assert one.read_bytes() == two.read_bytes()


@pytest.mark.thorough
def test_a_run_ends_in_time_and_resumes_with_the_steps_that_it_began_with(
    tiny: Path, tmp_path: Path
) -> None:
    values = make_recipe(tiny, tmp_path)
    values["stages"] = [{"steps": 10**6, "evaluate_every": 10**5}]
    began = time.monotonic()
    trivium.train(values, tmp_path / "run", minutes=0.1)
    assert time.monotonic() - began < 60
    events = map(json.loads, (tmp_path / "run/journal.jsonl").read_text().splitlines())
    counts = [each["event"] for each in events]
    steps = trivium.load_recipe(tmp_path / "run/recipe.yaml").stages[0].steps
    assert steps is not None
    assert counts.count("step") == steps < 10**6
    assert counts.count("evaluation") >= 1
    again = trivium.train(values, tmp_path / "run", minutes=0.1, resume=True)
    assert again == json.loads((tmp_path / "run/scores.json").read_text())
    with pytest.raises(RecipeError, match="began with --minutes goes on with --minutes"):
        trivium.train(values, tmp_path / "run", resume=True)


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), float("inf")])
def test_minutes_are_a_number_above_0(tiny: Path, tmp_path: Path, minutes: float) -> None:
    with pytest.raises(RecipeError, match="--minutes"):
        trivium.train(make_recipe(tiny, tmp_path), tmp_path / "run", minutes=minutes)
    assert not (tmp_path / "run").exists()


def test_what_is_random_goes_on_as_if_nothing_had_been_timed(tiny: Path, tmp_path: Path) -> None:
    values = make_recipe(tiny, tmp_path)
    values["stages"] = [{"steps": 1}]
    torch.manual_seed(5)
    trivium.train(values, tmp_path / "one")
    first = torch.rand(1)
    torch.manual_seed(5)
    trivium.train(values, tmp_path / "two", minutes=60)
    assert torch.equal(first, torch.rand(1))


def test_a_preview_tells_the_time_and_the_disk_on_demand(tiny: Path, tmp_path: Path) -> None:
    values = make_recipe(tiny, tmp_path)
    values["stages"] = [{"name": "first", "steps": 40}, {"name": "then", "steps": 2, "guard": 0.5}]
    console, said = spoken()
    preview = trivium.check(values, console, time=True)
    lines = [
        line for line in said.getvalue().splitlines() if line.startswith(("time of", "time in"))
    ]
    assert [line.split(":")[0] for line in lines] == [
        "time of stage first", "time of stage then", "time in all",
    ]  # fmt: skip
    assert "40 steps of" in lines[0]
    assert "2 evaluations of" in lines[1]  # one for the floors
    weights = sum(p.numel() for p in preview.model.parameters())
    assert f"disk: {4 * weights / 2**20:,.0f} MiB" in lines[2]
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["data"]
