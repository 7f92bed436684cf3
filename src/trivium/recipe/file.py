"""What the file of a recipe holds: the recipe, and what is said of it."""

from typing import Any, Literal

from pydantic import Field, model_validator

from trivium.part import Part
from trivium.recipe.budget import FULL, Budget, Reported
from trivium.recipe.schema import Recipe
from trivium.recipe.search import Search


class Beside(Part):
    """What a file may say beside the recipe in it."""

    search: Search | None = None
    """What `trivium tune` tries; a run of the recipe itself has no use for it."""
    reported: Reported | None = None
    """What a paper or report reached with these settings: a study sets it beside its own scores."""
    budgets: dict[str, Budget] = Field(default_factory=dict)
    """Shorter versions of the recipe, for `--budget NAME`; `full` is the recipe itself."""
    preset: Literal["fast", "good", "best"] | None = None
    """How much `trivium train` spends on it, where it is not told otherwise: see
    `trivium.recipe.presets`."""


class RecipeFile(Beside):
    """A recipe's file as data."""

    recipe: Recipe

    @model_validator(mode="after")
    def _fits_the_recipe(self) -> "RecipeFile":
        tasks = self.recipe.tasks
        for problem in self.reported.problems(tasks) if self.reported else ():
            raise ValueError(problem)
        for problem in self.reported.unsearched(self._searched) if self.reported else ():
            raise ValueError(problem)
        for name, budget in self.budgets.items():
            if name == FULL and budget != Budget():
                raise ValueError(
                    f"budgets.{FULL}: is the recipe as it stands, and changes nothing; give this "
                    "budget another name"
                )
            for problem in budget.problems(tasks, self.recipe.stages):
                raise ValueError(f"budgets.{name}.{problem}")
        return self

    @property
    def _searched(self) -> list[str]:
        return list(self.search.space) if self.search else []

    def table(self) -> dict[str, Any]:
        """All of it as JSON would hold it, in one table, as the file has it."""
        beside = self.model_dump(mode="json", exclude={"recipe"})
        return self.recipe.model_dump(mode="json") | beside
