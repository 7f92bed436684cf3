"""Recipes back to YAML, as our own files of runs and searches have them."""

from typing import Any

from trivium.recipe.file import RecipeFile
from trivium.recipe.plain_yaml import write_yaml
from trivium.recipe.schema import Recipe


def dump_recipe(recipe: Recipe, only: set[str] | None = None) -> str:
    """The whole recipe as YAML, every setting written out; or `only` some of its settings."""
    return write_yaml(recipe_values(recipe, only))


def dump_file(file: RecipeFile) -> str:
    """The same with what its file says beside it, in one table."""
    return write_yaml(file_values(file))


def recipe_values(recipe: Recipe, only: set[str] | None = None) -> dict[str, Any]:
    """What YAML holds of a recipe: no tasks' names, which are their keys."""
    names = {"tasks": {"__all__": {"name"}}}
    return recipe.model_dump(mode="json", include=only, exclude=names)


def file_values(file: RecipeFile) -> dict[str, Any]:
    """What YAML holds of a recipe's file: nothing of what it does not say."""
    beside = file.model_dump(mode="json", exclude={"recipe"})
    return recipe_values(file.recipe) | {name: value for name, value in beside.items() if value}
