"""What a stage is judged by: its own tasks, those trained before it, no means that is over."""

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import trivium
from trivium.errors import RecipeError
from trivium.recipe import parse_recipe
from trivium.run.check import check
from trivium.run.folder.journal import read_journal


def judged(run: Path) -> dict[str, set[str]]:
    """The tasks of every evaluation, by stage."""
    found: dict[str, set[str]] = {}
    for event in read_journal(run):
        if event["event"] == "evaluation":
            found.setdefault(event["stage"], set()).update(event["scores"])
    return found


def train(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    return trivium.train(parse_recipe(values), folder, console=Console(file=StringIO()))


def two_stages(values: dict[str, Any], **auxiliary: Any) -> dict[str, Any]:
    tasks = {name: task | auxiliary.get(name, {}) for name, task in values["tasks"].items()}
    stages = [
        {"name": "before", "tasks": ["mood", "same"], "steps": 2},
        {"name": "after", "tasks": ["near"], "steps": 2},
    ]
    return values | {"tasks": tasks, "stages": stages}


def test_a_stage_is_judged_by_what_it_and_those_before_it_train(
    recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    train(two_stages(recipe_values), tmp_path / "run")
    assert judged(tmp_path / "run") == {
        "before": {"mood", "same"},
        "after": {"mood", "same", "near"},
    }


def test_an_auxiliary_task_is_judged_while_it_is_trained_and_counts_in_no_overall_mean(
    recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    scores = train(two_stages(recipe_values, mood={"auxiliary": True}), tmp_path / "run")
    assert judged(tmp_path / "run") == {"before": {"mood", "same"}, "after": {"same", "near"}}
    dev = {name: scores["tasks"][name]["dev"] for name in ("mood", "same", "near")}
    ends = [dev["same"]["accuracy"], (dev["near"]["pearson"] + 1) / 2]
    assert scores["overall"]["dev"]["leaderboard"] == pytest.approx(sum(ends) / 2)
    assert scores["overall"]["dev"]["mean"] == pytest.approx((ends[0] + dev["near"]["pearson"]) / 2)


def test_auxiliary_tasks_count_where_there_are_no_others(
    recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    means = {"mood": {"auxiliary": True}, "same": {"auxiliary": True}}
    train(two_stages(recipe_values, **means), tmp_path / "run")
    events = [e for e in read_journal(tmp_path / "run") if e["event"] == "evaluation"]
    first = next(event for event in events if event["stage"] == "before")
    each = [first["scores"][name]["dev"]["accuracy"] for name in ("mood", "same")]
    assert first["overall"] == pytest.approx(sum(each) / 2)


def test_a_stage_cannot_select_by_a_task_that_nothing_has_trained(
    recipe_values: dict[str, Any],
) -> None:
    values = two_stages(recipe_values)
    values["stages"][0]["select"] = "near"
    with pytest.raises(RecipeError, match=r"stages\.0\.select: neither this stage nor one before"):
        parse_recipe(values)


def test_a_guarded_task_is_judged_although_it_is_auxiliary(
    recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    values = two_stages(recipe_values, mood={"auxiliary": True})
    values["stages"][1]["guard"] = {"mood": {"absolute": 0.0}}
    train(values, tmp_path / "run")
    assert judged(tmp_path / "run")["after"] == {"mood", "same", "near"}


def test_a_share_guards_what_the_stage_is_judged_by_and_asks_no_more(
    recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    values = two_stages(recipe_values, mood={"auxiliary": True, "dev": None})
    values["stages"][1] |= {"guard": 0.01}
    console = Console(file=StringIO(), width=300)
    recipe = parse_recipe(values)
    check(recipe, console)
    assert isinstance(console.file, StringIO)
    (told,) = (line for line in console.file.getvalue().splitlines() if "guarded:" in line)
    train(values, tmp_path / "run")
    floors = next(e["floors"] for e in read_journal(tmp_path / "run") if e["event"] == "guard")
    assert set(floors) == {"same", "near"}
    assert all(f"{name} " in told for name in floors)
    assert "mood" not in told


def test_an_auxiliary_task_that_an_earlier_stage_trained_cannot_select(
    recipe_values: dict[str, Any],
) -> None:
    values = two_stages(recipe_values, mood={"auxiliary": True})
    values["stages"][1]["select"] = "mood"
    with pytest.raises(RecipeError, match="mood is auxiliary: only stages that train or guard it"):
        parse_recipe(values)
