"""A recipe as people give it: a file, a dictionary in place of one, or the recipe itself."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from trivium.errors import RecipeError
from trivium.recipe.dumping import file_values, recipe_values
from trivium.recipe.file import RecipeFile
from trivium.recipe.plain_yaml import read_yaml
from trivium.recipe.schema import Recipe

AnyRecipe = str | os.PathLike[str] | Recipe | RecipeFile | Mapping[str, Any]
"""What every public function takes for a recipe: the path of its file, the recipe as data, or a
dictionary that says what a file would. Relative folders in the last two start at the working
directory."""

NAMELESS = "recipe"
"""What messages call a recipe that is in no file."""


@dataclass(frozen=True, slots=True)
class Given:
    """A recipe that was given, read and not yet understood."""

    path: Path
    """Its file. One that is in no file has a name in place of it, as if it lay in the working
    directory: so that messages begin, and folders start, as a file's do."""
    values: dict[str, Any]
    """As its file says it: what it extends is not read."""
    is_file: bool
    recipe: Recipe | None = None
    """The recipe itself, if it was given so: nothing in it needs to be read again."""


def take(recipe: AnyRecipe | Given, name: str = NAMELESS) -> Given:
    """Read a recipe that was given. name: of one in no file. Raises RecipeError."""
    if isinstance(recipe, Given):
        return recipe
    if isinstance(recipe, str | os.PathLike):
        path = Path(recipe)
        return Given(path, read_yaml(path), is_file=True)
    known = recipe if isinstance(recipe, Recipe) else None
    return Given(Path(name), _plain(recipe, name), is_file=False, recipe=known)


def _plain(value: Any, *place: object) -> Any:
    """As YAML would hold it, so that dotted paths lead into it and it can be written to a file.

    place: the recipe's name, and the keys to where it stands, for the RecipeError if no YAML could
    hold it.
    """
    if isinstance(value, Recipe):
        return recipe_values(value)
    if isinstance(value, RecipeFile):
        return file_values(value)
    if isinstance(value, BaseModel):  # a part in a dictionary, such as a task
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {_plain(k, *place): _plain(each, *place, k) for k, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, *place, index) for index, each in enumerate(value)]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return _plain_word(value, *place)


def _plain_word(value: Any, name: object, *place: object) -> Any:
    """A single value, without what a library has made of it, such as NumPy's float64."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)  # `str` alone would give an enumeration's name for its value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    raise RecipeError(
        f"{name}: {'.'.join(map(str, place))}: is of the type {type(value).__name__}, which no "
        "recipe's file could hold; write a dictionary, a list, text, a number, true, false or None."
    )
