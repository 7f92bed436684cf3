"""Presets: how much is to be spent on a recipe, in a word.

`fast` is another recipe, `good` is the recipe as it stands. `best` is several runs of it with
seeds of their own, united (`trivium.apps.presets`); a recipe by itself can only be one of them.
"""

from typing import Any, Literal, get_args

from trivium.errors import RecipeError, did_you_mean
from trivium.recipe.given import AnyRecipe, Given, take
from trivium.recipe.parse import parse_recipe
from trivium.recipe.reading import whole
from trivium.recipe.schema import Recipe

Preset = Literal["fast", "good", "best"]
GOOD: Preset = "good"

PROBED: dict[str, Any] = {"name": "probe", "steps": 0, "trains": "frozen"}
"""The one stage of a fast run: nothing is trained, heads stay what they start from."""


def preset_of(recipe: AnyRecipe | Given, asked: str | None) -> str:
    """What was asked for, or else what the recipe's file says. Raises RecipeError for no preset."""
    said = asked if asked is not None else whole(take(recipe)).get("preset") or GOOD
    if said not in get_args(Preset):
        raise RecipeError(f"preset: there is no {said!r}{did_you_mean(said, get_args(Preset))}.")
    return str(said)


def with_preset(recipe: Recipe, preset: str | None) -> Recipe:
    """The recipe of one run under a preset, all written out. Raises RecipeError."""
    return fast(recipe) if preset == "fast" else recipe


def fast(recipe: Recipe) -> Recipe:
    """A linear probe on the encoder's vectors as they are, as a recipe: heads that start there, and
    no step of training.

    Each head sees what the probe before training sees (docs/defaults.md), so that its scores are
    the probe's. What only training needs is left out: adapters, stages, masked words and the like.
    """
    names = [name for name, task in recipe.tasks.items() if task.answers_questions]
    if not names:
        raise RecipeError("preset fast: no task of the recipe has answers that a probe could give.")
    values = recipe.model_dump(mode="json")
    tasks = {
        name: values["tasks"][name] | _probed(pair=recipe.tasks[name].is_pair) for name in names
    }
    values |= {"tasks": tasks, "adapters": [], "stages": [PROBED]}
    return parse_recipe(values, "preset fast")


def _probed(*, pair: bool) -> dict[str, Any]:
    head: dict[str, Any] = {"kind": "linear"}
    if pair:
        head = {"kind": "concat", "features": "uv_diff_product"}
    head |= {"pooling": "mean", "start": "probe"}
    return {"head": head, "encode": "separate", "loss": None}
