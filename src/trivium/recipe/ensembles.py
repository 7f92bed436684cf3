"""A recipe of another kind: an ensemble of the runs of other recipes."""

from collections.abc import Sequence

from pydantic import Field, field_validator

from trivium.part import Part
from trivium.recipe.budget import Reported
from trivium.recipe.given import AnyRecipe, Given, take
from trivium.recipe.parse import in_words
from trivium.types import How

KEY = "ensemble"


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

    def with_members(self, members: Sequence[str]) -> "EnsembleRecipe":
        ensemble = self.ensemble.model_copy(update={"members": tuple(members)})
        return self.model_copy(update={"ensemble": ensemble})


def load_ensemble(recipe: AnyRecipe | Given) -> EnsembleRecipe | None:
    """The recipe of an ensemble in a YAML file; None where the file holds another recipe.

    The members' files are made absolute. Raises RecipeError.
    """
    given = take(recipe)
    if KEY not in given.values:
        return None
    with in_words(str(given.path), EnsembleRecipe):
        found = EnsembleRecipe.model_validate(given.values)
    home = given.path.parent
    return found.with_members([str((home / name).resolve()) for name in found.ensemble.members])
