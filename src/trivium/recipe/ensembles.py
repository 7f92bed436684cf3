"""A recipe of another kind: an ensemble of the runs of other recipes."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from trivium.errors import RecipeError
from trivium.part import Part
from trivium.recipe.budget import Reported
from trivium.recipe.messages import problems
from trivium.recipe.plain_yaml import read_yaml

KEY = "ensemble"

How = Literal["vote", "mean", "weights"]


class Combination(Part):
    """Who is united, and how their answers become one."""

    members: tuple[str, ...] = Field(min_length=2)
    """Recipes' files, beside this one."""
    how: How = "mean"

    @field_validator("members")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if value.count(name) > 1:
                raise ValueError(f"names {name} twice")
        return value


class EnsembleRecipe(Part):
    """What a study makes of the runs of its other rows."""

    ensemble: Combination
    reported: Reported | None = None


def load_ensemble(path: Path) -> EnsembleRecipe | None:
    """The recipe of an ensemble in a YAML file; None where the file holds another recipe.

    The members' files are made absolute. Raises RecipeError.
    """
    values: dict[str, Any] = read_yaml(path)
    if KEY not in values:
        return None
    try:
        found = EnsembleRecipe.model_validate(values)
    except ValidationError as error:
        said = problems(error.errors(), EnsembleRecipe)
        raise RecipeError("\n".join(f"{path}: {line}" for line in said)) from error
    members = tuple(str((path.parent / name).resolve()) for name in found.ensemble.members)
    return found.model_copy(
        update={"ensemble": found.ensemble.model_copy(update={"members": members})}
    )
