"""A recipe with other values at dotted paths, as a search tries them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trivium.recipe.dotted import put
from trivium.recipe.folders import with_folders
from trivium.recipe.parse import parse_recipe
from trivium.recipe.schema import Recipe


def change_recipe(recipe: Recipe, values: Mapping[str, Any], path: Path) -> Recipe:
    """The recipe of a file with other values at dotted paths.

    Folders in them may be relative to the file. The lines of a RecipeError start with the path.
    """
    changed = recipe.model_dump(mode="json")
    for dotted, value in values.items():
        put(changed, dotted, value, dotted)
    return with_folders(parse_recipe(changed, ""), path)
