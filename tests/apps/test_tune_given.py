"""A search of a recipe that is in no file."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

import trivium
from tests.support.searches import SPACE, run_by_hand, worker
from tests.support.shell import spoken
from tests.support.tables import make_recipe
from trivium.errors import RecipeError
from trivium.recipe import AnyRecipe, load_recipe, load_recipe_file


@pytest.fixture
def values(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    found = make_recipe(tiny, tmp_path)
    monkeypatch.chdir(tmp_path)
    search = {"space": SPACE, "trials": 3}
    return found | {"data": "data", "search": search, "budgets": {"short": {"rows": 16}}}


def test_a_search_is_the_same_whatever_says_its_recipe(values: dict[str, Any]) -> None:
    Path("recipe.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    found, written = [], []
    options: dict[str, Any] = {"budget": "short", "changes": ["search.trials=2", "precision=auto"]}
    file = load_recipe_file("recipe.yaml")
    each: list[AnyRecipe] = ["recipe.yaml", Path("recipe.yaml"), values, file]
    for number, given in enumerate(each):
        out = Path(f"out-{number}")
        found.append(run_by_hand(worker(given, out, **options)))
        written.append((out / "search.yaml").read_text())
    assert len(found[0]) == 2
    assert found == [found[0]] * 4
    assert written == [written[0]] * 4
    assert not {"budgets", "reported"} & yaml.safe_load(written[0]).keys()


def test_a_search_of_a_dictionary_goes_on_from_the_file_that_it_left(
    values: dict[str, Any],
) -> None:
    out = Path("out")
    one = worker(values, out, budget="short", changes=["precision=auto"])
    assert one.command == "trivium tune out/search.yaml --out out --storage journal"
    first = one.claims.next()
    assert first is not None
    first.log.close()  # as if the worker was killed
    again = worker(Path(shlex.split(one.command)[2]), out)
    assert again.claims.recipe == one.claims.recipe
    second = again.claims.next()
    assert second is not None
    second.log.close()
    assert (second.number, second.point) == (first.number, first.point)
    assert worker(values, out, budget="short", changes=["precision=auto"]).claims.running()


def test_a_recipe_alone_has_no_search(values: dict[str, Any]) -> None:
    console, _ = spoken()
    recipe = load_recipe(values)
    with pytest.raises(RecipeError, match=r"^recipe: search: is missing; it says what to try"):
        trivium.tune(recipe, "out", console=console)
    with pytest.raises(RecipeError, match=r"^recipe: search\.trails: no such setting"):
        trivium.tune(values | {"search": {"space": SPACE, "trails": 1}}, "out", console=console)
    assert not Path("out").exists()
