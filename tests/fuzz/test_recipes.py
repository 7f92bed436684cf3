"""Recipes of any content: read, or refused with a line per problem."""

import io
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import trivium
from tests.support.fuzz import WORDS, cases, changed, damaged, refusal
from tests.support.recipes import GOOD
from trivium.recipe import Recipe, load_recipe
from trivium.recipe.renamed import MEANT
from trivium.run.rows.load import load_data

pytestmark = pytest.mark.fuzz

WHOLE: dict[str, Any] = yaml.safe_load(GOOD)
WHOLE["tasks"]["mood"] |= {"train": "rows.tsv", "dev": {"file": "rows.tsv", "relabel": {1: 0}}}
WHOLE["tasks"]["mood"] |= {"labels": {0: "bad", 1: "x"}, "class_weights": {0: 2.0}}
WHOLE["tasks"]["sim"] |= {"train": ["rows.tsv"], "label": "s", "head": {"kind": "cosine"}}
WHOLE["tasks"]["found"] = WHOLE["tasks"]["mood"] | {"labels": None, "kind": "multilabel"}
WHOLE |= {"adapters": ["lora"], "seed": 1, "budgets": {"short": {"epochs": 1, "rows": 4}}}


def refused(path: Path, *changes: str) -> None:
    """Nothing but a RecipeError, whatever a recipe says."""
    read: list[Recipe] = []
    refusal(lambda: read.append(load_recipe(path, list(changes))), lines=100)
    for recipe in read:
        refusal(lambda recipe=recipe: load_data(recipe), lines=100)  # type: ignore[misc]


def test_what_is_changed_is_a_recipe(home: Path) -> None:
    path = home / "whole.yaml"
    path.write_text(yaml.safe_dump(WHOLE), encoding="utf-8")
    load_data(load_recipe(path))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipes")
    rows = [f"text {n}\tother {n}\t{n % 2}\t{n % 5}\n" for n in range(10)]
    (folder / "rows.tsv").write_text("a\tb\ty\ts\n" + "".join(rows))
    return folder


@cases(0.2)
@given(values=changed(WHOLE, most=2))
def test_a_recipe_with_wrong_values_is_read_or_refused(home: Path, values: Any) -> None:
    path = home / "recipe.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    refused(path)


def tweaked(values: Any) -> Any:
    """A recipe whose settings are other numbers, true or false, or other words of a recipe."""
    numbers = st.integers(-1, 5) | st.floats(-1, 5) | st.sampled_from([10**9, 2**31, 1e-9, 1e30])
    return changed(values, most=4, junk=numbers | st.booleans() | st.sampled_from(sorted(MEANT)))


@cases(0.05)
@given(values=tweaked(WHOLE))
def test_what_a_recipe_would_do_is_told_or_refused(home: Path, tiny: Path, values: Any) -> None:
    path = home / "tweaked.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    read: list[Recipe] = []
    refusal(lambda: read.append(load_recipe(path, [f"encoder={tiny}"])), lines=100)
    for recipe in read:
        screen = Console(file=io.StringIO())
        refusal(lambda r=recipe, c=screen: trivium.check(r, c), lines=100)  # type: ignore[misc]


@cases(0.05)
@given(content=damaged(GOOD.encode()))
def test_a_recipe_with_wrong_bytes_is_read_or_refused(home: Path, content: bytes) -> None:
    path = home / "bytes.yaml"
    path.write_bytes(content)
    refused(path)


@cases(0.05)
@given(
    place=st.sampled_from(["tasks.mood", "stages.0", "stages.*", "tasks.*.head", ""]),
    key=WORDS,
    value=WORDS,
)
def test_any_change_at_a_shell_is_made_or_refused(
    home: Path, place: str, key: str, value: str
) -> None:
    path = home / "good.yaml"
    path.write_text(GOOD)
    refused(path, f"{place}.{key}={value}")
