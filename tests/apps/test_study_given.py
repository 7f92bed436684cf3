"""A study of recipes that are in no file, or have names of their own."""

import shlex
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

import trivium
from tests.support.tables import make_recipe
from trivium.apps.study.ensembles import EnsembleRun
from trivium.apps.study.entries import HEAD, AnyRecipes, write_recipes
from trivium.apps.study.runs import Plan, plan_study
from trivium.errors import RecipeError
from trivium.recipe import load_recipe, load_recipe_file, parse_recipe
from trivium.recipe.plain_yaml import read_yaml


@pytest.fixture
def values(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """With a relative folder of data, as one would write it."""
    found = make_recipe(tiny, tmp_path)
    monkeypatch.chdir(tmp_path)
    budgets = {"short": {"rows": 16, "dev_rows": 8}}
    return found | {"data": "data", "budgets": budgets, "stages": [{"steps": 2, "batch_size": 4}]}


def plan(recipes: AnyRecipes, budget: str = "full", *changes: str) -> Plan:
    return plan_study(recipes, Path("out"), 1, changes, budget)


def refusal(recipes: AnyRecipes) -> str:
    with pytest.raises(RecipeError) as caught:
        plan(recipes)
    assert not Path("out").exists()
    return str(caught.value)


def test_what_is_in_no_file_is_numbered_and_written_into_the_study(
    values: dict[str, Any], tmp_path: Path
) -> None:
    path = Path("base.yaml")
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    recipe = parse_recipe({k: v for k, v in values.items() if k != "budgets"} | {"seed": 5})
    found = plan([recipe, "base.yaml", values | {"device": "auto"}])
    assert not Path("out").exists(), "a plan writes nothing"
    assert found.paths == {
        "recipe-1": Path("out/recipe-1.yaml"),
        "base": path,
        "recipe-2": Path("out/recipe-2.yaml"),
    }
    assert set(found.texts) == {Path("out/recipe-1.yaml"), Path("out/recipe-2.yaml")}
    Path("out").mkdir()
    write_recipes(found.texts)
    plan([recipe, "base.yaml", values])  # what a study wrote, it may write again
    for run in found.runs:
        assert load_recipe(run.path, run.changes) == run.recipe
    # The written files say all that the others do, wherever one is: budgets, and where data lie.
    assert load_recipe_file("out/recipe-2.yaml").budgets == load_recipe_file(path).budgets
    assert read_yaml(Path("out/recipe-2.yaml"))["data"] == str(tmp_path.resolve() / "data")
    again = shlex.split(found.command)[2:5]
    assert again == ["out/recipe-1.yaml", "base.yaml", "out/recipe-2.yaml"]
    assert [run.recipe for run in plan(again).runs] == [run.recipe for run in found.runs]


def test_a_budget_and_changes_come_after_what_is_written(values: dict[str, Any]) -> None:
    found = plan({"a": values}, "short", "stages.*.steps=1")
    Path("out").mkdir()
    write_recipes(found.texts)
    (run,) = found.runs
    assert run.command[4:] == [
        "out/a.yaml", "--out", "out/a/seed-0", "--budget", "short",
        "--set", "stages.*.steps=1", "--set", "seed=0",
    ]  # fmt: skip
    assert load_recipe(run.path, run.changes, run.budget) == run.recipe
    assert run.recipe.stages[0].steps == 1


def test_rows_may_be_named_and_an_ensemble_may_name_them(values: dict[str, Any]) -> None:
    Path("file.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    Path("own.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    found = plan(
        {
            "all": {"ensemble": {"members": ["dict", "file.yaml", "own.yaml"], "how": "vote"}},
            "dict": values,
            "other": "file.yaml",
            "own": Path("own.yaml"),
        }
    )
    *_, union = found.runs
    assert isinstance(union, EnsembleRun)
    assert [member.name for member in union.members] == ["dict", "other", "own"]
    assert found.paths["own"] == Path("own.yaml"), "it has its row's name already"
    Path("out").mkdir()
    write_recipes(found.texts)
    again = plan(list(found.paths.values()))
    assert [run.name for run in again.runs] == [run.name for run in found.runs]
    *_, union = again.runs
    assert isinstance(union, EnsembleRun)
    assert [member.name for member in union.members] == ["dict", "other", "own"]


def test_wrong_recipes_are_told_by_their_names(values: dict[str, Any]) -> None:
    lines = refusal([values, values | {"sed": 1}, values | {"data": "no"}]).splitlines()
    assert lines[0] == "recipe-2: sed: no such setting; did you mean 'seed'?"
    assert lines[1].startswith("recipe-3: data: no folder ")
    assert refusal({"a": values | {"sed": 1}}).startswith("a: sed: no such setting")
    assert refusal("none.yaml") == "none.yaml: no such recipe."
    assert "none of" not in refusal({"a": "none.yaml"})
    for name in ("", "..", "a/b", "table.json", "a.yaml"):
        assert refusal({name: values}).startswith(f"{name!r}: is no name for a recipe's row")
    assert "A and a: both would be called 'a'" in refusal({"A": values, "a": values})
    odd = values | {"tasks": values["tasks"] | {"mood": values["tasks"]["mood"] | {"text": {"x"}}}}
    assert refusal([odd]).startswith("recipe-1: tasks.mood.text: is of the type set, which no")


def test_a_file_that_no_study_wrote_is_not_replaced(values: dict[str, Any]) -> None:
    Path("out").mkdir()
    Path("out/recipe-1.yaml").write_text("mine: 1\n")
    with pytest.raises(RecipeError, match=r"out/recipe-1\.yaml: is there, and no study wrote it"):
        plan([values])
    assert Path("out/recipe-1.yaml").read_text() == "mine: 1\n"
    Path("out/recipe-1.yaml").write_text(HEAD + "seed: 1\n")
    assert plan([values]).texts


@pytest.mark.thorough
@pytest.mark.whole_run
def test_a_study_of_recipes_as_data_is_one_of_files(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    Path("data-only.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    recipe = load_recipe("data-only.yaml", ["stages.0.sampler=joint"])
    union = {"ensemble": {"members": ["plain", "joint"]}}
    rows: dict[str, Any] = {"plain": values, "joint": recipe, "both": union}
    console = Console(file=StringIO(), width=100)
    made = trivium.study(rows, "out", seeds=1, changes=["precision=fp32"], console=console)
    assert [row["n"] for row in made["recipes"]] == [1, 1, 1]
    assert {row["file"] for row in made["recipes"]} == {f"out/{name}.yaml" for name in rows}
    # The files that it wrote go on with it, from anywhere.
    monkeypatch.chdir(tmp_path.parent)
    out = tmp_path / "out"
    files = [out / f"{name}.yaml" for name in rows]
    again = plan_study(files, out, 1, ["precision=fp32"])
    assert all(run.is_finished for run in again.runs)
