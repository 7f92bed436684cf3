"""What an ensemble's folder says of itself: its members, and who answers each task."""

from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError, model_validator

from trivium.errors import RecipeError
from trivium.jsons import first_problem
from trivium.part import Part
from trivium.run.folder.names import ENSEMBLE
from trivium.run.folder.sealed import unseal
from trivium.types import How

FORMAT = 1


class Panel(Part):
    """Who answers a task, and how their readouts become one."""

    how: How
    members: tuple[int, ...] = Field(min_length=1)
    """Places among the ensemble's members."""
    weights: tuple[float, ...] = ()
    """Of `weights`: what each of these members counts; they add up to 1."""

    @model_validator(mode="after")
    def _one_weight_each(self) -> Self:
        wanted = len(self.members) if self.how == "weights" else 0
        if len(self.weights) != wanted or any(weight < 0 for weight in self.weights):
            raise ValueError(f"{wanted} weights are wanted, found {list(self.weights)}")
        return self


class Origin(Part):
    """Where a member was copied from."""

    name: str
    """As it was given."""
    folder: str


class Contents(Part):
    """What an ensemble's folder says of itself."""

    members: tuple[Origin, ...] = Field(min_length=1)
    tasks: dict[str, Panel]

    @model_validator(mode="after")
    def _members_exist(self) -> Self:
        for name, panel in self.tasks.items():
            if not set(panel.members) <= set(range(len(self.members))):
                raise ValueError(f"tasks.{name}: a member is not one of 0…{len(self.members) - 1}")
        return self


def weighed_tasks(folder: Path) -> set[str]:
    """Tasks whose members' weights were chosen by their score on dev rows. None of a folder that
    holds no ensemble, or a damaged one."""
    try:
        panels = read_contents(folder).tasks
    except RecipeError:
        return set()
    return {name for name, panel in panels.items() if panel.how == "weights"}


def read_contents(folder: Path) -> Contents:
    """What an ensemble's folder holds. Raises RecipeError where a part is missing or altered."""
    facts = unseal(folder, ENSEMBLE)
    if facts.get("format") != FORMAT:
        raise RecipeError(
            f"{folder}: its format is {facts.get('format')!r}, this version reads {FORMAT}. "
            f"It was written by trivium {facts.get('trivium')}."
        )
    try:
        return Contents.model_validate({key: facts.get(key) for key in ("members", "tasks")})
    except ValidationError as error:
        raise RecipeError(f"{folder / ENSEMBLE}: cannot be read: {first_problem(error)}") from error
