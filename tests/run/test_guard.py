"""Guarded stages: floors under the tasks' scores, and the way back when one is broken."""

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import trivium
from trivium.errors import RecipeError
from trivium.model.weights import read_weights
from trivium.recipe import parse_recipe
from trivium.run.folder.journal import read_journal


def two_stages(values: dict[str, Any], **second: Any) -> dict[str, Any]:
    """All tasks together, then one of them alone with a rate that wrecks the others."""
    together = values["stages"][0] | {"name": "together", "steps": 40, "evaluate_every": 40}
    alone = {
        "name": "alone", "tasks": ["mood"], "steps": 12, "evaluate_every": 2, "batch_size": 16,
        "schedule": "constant",
    }  # fmt: skip
    return values | {"stages": [together, alone | second]}


def run(values: dict[str, Any], folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]], str]:
    said = Console(file=StringIO(), width=200)
    scores = trivium.train(parse_recipe(values), folder, console=said)
    assert isinstance(said.file, StringIO)
    return scores, list(read_journal(folder)), said.file.getvalue()


def of(journal: list[dict[str, Any]], event: str, stage: str = "alone") -> list[dict[str, Any]]:
    return [e for e in journal if e["event"] == event and e["stage"] == stage]


def test_a_broken_floor_ends_the_stage_and_the_last_good_model_stands(
    recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    guarded = two_stages(recipe_values, guard=0.95, lr=0.05)
    scores, journal, said = run(guarded, tmp_path / "run")
    refusals = of(journal, "refusal")
    assert refusals
    [guard] = of(journal, "guard")
    for refusal in refusals:
        task = refusal["task"]
        assert refusal["floor"] == guard["floors"][task]
        assert refusal["value"] < refusal["floor"]
        assert f"refused: {task} fell to {refusal['value']:.4f}" in said
    last = of(journal, "evaluation")[-1]
    assert not last["kept"]
    assert last["step"] == refusals[-1]["step"] < 12, "the stage ends there"
    for task, floor in guard["floors"].items():
        metric = {"near": "pearson"}.get(task, "accuracy")
        assert scores["tasks"][task]["dev"][metric] >= floor - 1e-9
    kept = [e for e in of(journal, "evaluation") if e["kept"]]
    wanted = kept[-1]["step"] if kept else 40
    assert scores["selected"]["step"] == wanted == refusals[0]["back_to"]["step"]


def test_floors_are_shares_of_the_scores_before_or_absolute(
    recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    guard = {"same": 0.5, "near": {"absolute": -0.25}}
    _, journal, _ = run(two_stages(recipe_values, guard=guard, lr=1e-5), tmp_path / "run")
    [told] = of(journal, "guard")
    before = of(journal, "evaluation", "together")[-1]["scores"]
    assert told["before"]["same"] == before["same"]["dev"]["accuracy"]
    assert told["floors"] == {"same": 0.5 * told["before"]["same"], "near": -0.25}


def test_where_every_floor_holds_the_last_model_is_kept(
    recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    guard = {"mood": {"absolute": 0.0}}
    scores, journal, _ = run(two_stages(recipe_values, guard=guard, lr=1e-5), tmp_path / "run")
    assert not of(journal, "refusal")
    assert all(e["kept"] for e in of(journal, "evaluation"))
    assert scores["selected"] == {"stage": "alone", "step": 12, "by": "last"}


def test_patience_ends_a_guarded_stage_that_gets_no_better(
    recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    values = two_stages(recipe_values, guard=0.5, lr=0.0, patience=2)
    _, journal, said = run(values, tmp_path / "run")
    assert len(of(journal, "evaluation")) == 3  # the first one is the best so far
    assert "no better model in 2 evaluations" in said


@pytest.mark.thorough
def test_a_guarded_stage_that_only_does_harm_leaves_the_model_before_it(
    recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    first = two_stages(recipe_values)["stages"][0]
    run(recipe_values | {"stages": [first]}, tmp_path / "first")
    guard = {"mood": {"absolute": 2.0}}
    scores, _, _ = run(two_stages(recipe_values, guard=guard, lr=0.01), tmp_path / "both")
    assert scores["selected"]["stage"] == "together"
    before, after = (read_weights(tmp_path / name / "model") for name in ("first", "both"))
    assert all(torch.equal(before[name], after[name]) for name in before)


BOTH = {"share": 0.5, "absolute": 0.5}


@pytest.mark.parametrize(
    ("stage", "guard", "message"),
    [
        (0, 0.9, "stages.0.guard: the first stage has no earlier scores"),
        (1, {"moood": 0.9}, "stages.1.guard: no task 'moood'; did you mean 'mood'?"),
        (1, 1.5, "stages.1.guard: a share of the earlier scores is above 0 and at most 1"),
        (1, "x", "stages.1.guard: should be a number or should be a table of settings"),
        (1, {"mood": BOTH}, "stages.1.guard.mood: give either `share`"),
    ],
)
def test_a_guard_that_makes_no_sense_is_refused(
    recipe_values: dict[str, Any], stage: int, guard: object, message: str
) -> None:
    values = two_stages(recipe_values)
    values["stages"][stage]["guard"] = guard
    with pytest.raises(RecipeError, match=message.replace("?", r"\?")):
        parse_recipe(values)


def test_a_guarded_task_without_a_dev_file_is_refused(recipe_values: dict[str, Any]) -> None:
    values = two_stages(recipe_values, guard=0.9)
    del values["tasks"]["near"]["dev"]
    with pytest.raises(RecipeError, match=r"stages\.1\.guard: near: there is no `dev` file"):
        parse_recipe(values)


def three_stages(values: dict[str, Any], **third: Any) -> dict[str, Any]:
    """As two, and one more of the same kind, each guarded."""
    values = two_stages(values, guard=0.3, lr=1e-4, select="last")  # moved, and above its floors
    last = values["stages"][1] | {"name": "again", "tasks": ["same"]}
    return values | {"stages": [*values["stages"], last | third]}


@pytest.mark.thorough
def test_floors_may_be_shares_of_the_scores_that_an_earlier_stage_ended_with(
    recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    """Stages that keep 0.9 each may fall to 0.81 together, unless both mean the first scores."""
    values = three_stages(recipe_values, guard_from="together")
    _, journal, _ = run(values, tmp_path / "run")
    [first], [second] = of(journal, "guard"), of(journal, "guard", "again")
    assert second["of"] == "together"
    assert second["before"] == {name: first["before"][name] for name in second["before"]}
    assert second["floors"] == first["floors"]
    _, journal, _ = run(three_stages(recipe_values), tmp_path / "each")
    [own] = of(journal, "guard", "again")
    assert own["floors"] != first["floors"]


@pytest.mark.parametrize(
    ("third", "message"),
    [
        ({"guard_from": "togther"}, "no earlier stage 'togther'; did you mean 'together'"),
        ({"guard_from": "again"}, "no earlier stage 'again'"),
        ({"guard_from": "together", "guard": None}, "there is no `guard`"),
    ],
)
def test_a_guard_from_a_stage_that_is_none_before_it_is_refused(
    recipe_values: dict[str, Any], third: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_recipe(three_stages(recipe_values, **third))
