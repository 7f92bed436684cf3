"""Values to a recipe, or to what its file holds; what is wrong with them in words."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pydantic import BaseModel, ValidationError

from trivium.errors import RecipeError
from trivium.recipe.file import Beside, RecipeFile
from trivium.recipe.messages import problems
from trivium.recipe.schema import Recipe


def parse_recipe(values: Mapping[str, Any], where: str = "recipe") -> Recipe:
    """Values to a Recipe; RecipeError with one line per problem.

    where: begins every line; the file, or nothing.
    """
    with in_words(where, Recipe):
        return Recipe.model_validate(values)


def parse_file(values: Mapping[str, Any], where: str = "recipe") -> RecipeFile:
    """The values of a recipe's file, in one table; RecipeError with one line per problem."""
    with in_words(where, _Table):
        table = _Table.model_validate(values)
        recipe = Recipe(**{name: getattr(table, name) for name in Recipe.model_fields})
        beside = {name: getattr(table, name) for name in Beside.model_fields}
        return RecipeFile(recipe=recipe, **beside)


@contextmanager
def in_words(where: str, kind: type[BaseModel]) -> Iterator[None]:
    """What pydantic has to say against the values of a `kind`, as a RecipeError."""
    try:
        yield
    except ValidationError as error:
        start = f"{where}: " if where else ""
        lines = problems(error.errors(), kind)
        raise RecipeError("\n".join(start + line for line in lines)) from error


class _Table(Beside, Recipe):
    """A file as it is written: the recipe's settings and what stands beside them in one table.

    One class reads it, so that all that is wrong is said at once, and in the order of the fields.
    """
