"""A recipe is the same recipe as a path, as data and as a dictionary, for every verb."""

from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from rich.console import Console

import trivium
from tests.support.recipes import saved
from tests.support.tables import make_recipe
from trivium.errors import RecipeError
from trivium.parts.tasks import Classification
from trivium.recipe import AnyRecipe, dump_recipe, load_recipe, load_recipe_file
from trivium.recipe.given import take
from trivium.recipe.plain_yaml import parse_yaml, write_yaml

MOOD = {"kind": "classification", "text": "a", "label": "y", "train": "t.csv", "dev": "d.csv"}

BUDGETS = {"quick": {"rows": 20, "epochs": 1}}

SEARCH = {"space": {"seed": [1, 2]}, "maximize": "mood"}


def table(**more: Any) -> dict[str, Any]:
    return {"tasks": {"mood": dict(MOOD)}, "stages": [{"epochs": 2}], "budgets": BUDGETS, **more}


def spoken() -> tuple[Console, StringIO]:
    said = StringIO()
    return Console(file=said, width=200), said


@pytest.fixture
def values(tiny: Path, tmp_path: Path) -> dict[str, Any]:
    found = make_recipe(tiny, tmp_path)
    return found | {"stages": [{"steps": 2, "batch_size": 4}], "budgets": BUDGETS}


# --- what is loaded ----------------------------------------------------------------------------


def test_a_path_a_recipe_a_file_as_data_and_a_dictionary_are_one_recipe(tmp_path: Path) -> None:
    written = table(search=SEARCH, data=str(tmp_path))
    path = saved(tmp_path, yaml.safe_dump(written))
    file = load_recipe_file(path)
    for changes, budget in (((), "full"), (["seed=7", "tasks.mood.label=z"], "quick")):
        wanted = load_recipe(path, changes, budget)
        for given in (str(path), written, file):
            assert load_recipe(given, changes, budget) == wanted
            assert load_recipe_file(given, changes, budget).search == file.search
    assert load_recipe(file.recipe, ["seed=7"]) == load_recipe(path, ["seed=7"])
    with pytest.raises(RecipeError, match=r"^recipe: has no budget 'quick'; there are 'full'$"):
        load_recipe(file.recipe, budget="quick")


@pytest.mark.parametrize(
    ("wrong", "changes", "budget"),
    [
        ({"sed": 1}, (), "full"),
        ({"seed": "x", "device": "tpu", "search": {"space": {}}}, (), "full"),
        ({"reported": {"source": "a", "encoder": "b", "scores": {"moot": 1}}}, (), "full"),
        ({"budgets": {"b": {"rows": {"moot": 1}}}}, (), "full"),
        ({"data": "nowhere"}, (), "full"),
        ({}, ("stages.7.epochs=1",), "full"),
        ({}, ("stages.0.epoch=1",), "full"),
        ({}, ("budgets=",), "full"),
        ({}, (), "quik"),
        ({"extends": "none.yaml"}, (), "full"),
        ({"ensemble": {"members": ["a", "b"]}}, (), "full"),
    ],
    ids=str,
)
def test_a_wrong_dictionary_is_told_what_a_wrong_file_is(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wrong: dict[str, Any],
    changes: tuple[str, ...],
    budget: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    saved(tmp_path, yaml.safe_dump(table() | wrong), "file.yaml")
    said = []
    for given in ("file.yaml", table() | wrong):
        with pytest.raises(RecipeError) as caught:
            load_recipe(given, changes, budget)
        said.append(str(caught.value))
    assert said[0].replace("file.yaml: ", "recipe: ") == said[1]


def test_folders_and_bases_of_a_dictionary_start_at_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("tables", "bert"):
        (tmp_path / name).mkdir()
    own = load_recipe(table(data="tables", encoder="bert"))
    here = tmp_path.resolve()
    assert (own.data, own.encoder) == (str(here / "tables"), str(here / "bert"))
    # The base has the name that messages give to the dictionary itself.
    saved(tmp_path, yaml.safe_dump(table(data="tables", encoder="bert")), "recipe")
    heir = load_recipe({"extends": "recipe", "set": {"seed": 7}})
    assert heir == own.model_copy(update={"seed": 7})


def test_a_dictionary_may_hold_parts_paths_and_tuples_and_stays_as_it_is(tmp_path: Path) -> None:
    task = Classification(name="mood", **{k: v for k, v in MOOD.items() if k != "kind"})
    stage = {"epochs": np.int64(2), "lr": np.float64(1e-3)}
    given = {"data": tmp_path, "tasks": {"mood": task}, "stages": (stage,)}
    before = dict(given)
    changes = ["stages.0.batch_size=5", "tasks.mood.weight=2"]
    plain = table(data=str(tmp_path), stages=[{"epochs": 2, "lr": 1e-3}])
    assert load_recipe(given, changes) == load_recipe(plain, changes)
    assert load_recipe(parse_yaml(write_yaml(take(given).values)), changes).stages[0].epochs == 2
    assert given == before
    assert given["tasks"] == {"mood": task}
    assert stage.keys() == {"epochs", "lr"}
    with pytest.raises(RecipeError, match=r"^recipe: stages\.0\.tasks: is of the type set, which"):
        load_recipe(table(stages=[{"tasks": {"mood"}}]))


# --- the verbs ---------------------------------------------------------------------------------


def test_check_takes_whatever_says_a_recipe(values: dict[str, Any], tmp_path: Path) -> None:
    path = saved(tmp_path, yaml.safe_dump(values | {"search": SEARCH}, sort_keys=False), "r.yaml")
    told = []
    each: list[AnyRecipe] = [path, str(path), load_recipe_file(path), values | {"search": SEARCH}]
    for given in each:
        console, said = spoken()
        trivium.check(given, console, budget="quick", changes=["stages.0.steps=1"])
        told.append(said.getvalue())
    assert len(set(told)) == 1
    assert "search (tune): high mood in 30 trials" in told[0]
    console, said = spoken()
    recipe = load_recipe(path, ["stages.0.steps=1"], "quick")
    assert trivium.check(recipe, console).recipe.stages[0].steps == 1
    assert told[0].startswith(said.getvalue()), "without the line of a search"
    broken = values | {"budgets": BUDGETS | {"night": {"set": {"stages.0.lrr": 1}}}}
    with pytest.raises(RecipeError, match=r"recipe: with the budget night: stages\.0\.lrr: no"):
        trivium.check(broken, console)


def test_train_leaves_the_same_recipe_whatever_said_it(
    values: dict[str, Any], tmp_path: Path
) -> None:
    path = saved(tmp_path, yaml.safe_dump(values, sort_keys=False), "r.yaml")
    options: dict[str, Any] = {"budget": "quick", "changes": ["seed=3"], "console": spoken()[0]}
    trivium.train(str(path), tmp_path / "path", **options)
    trivium.train(values | {"search": SEARCH}, tmp_path / "dict", **options)
    recipe = load_recipe(path, ["seed=3"], "quick")
    trivium.train(recipe, tmp_path / "recipe", console=spoken()[0])
    written = [(tmp_path / n / "recipe.yaml").read_text() for n in ("path", "dict", "recipe")]
    assert len(set(written)) == 1
    assert "rows: 20\n" in written[0]
    assert "seed: 3\n" in written[0]
    assert yaml.safe_load(written[0]).keys() == yaml.safe_load(dump_recipe(recipe)).keys()
