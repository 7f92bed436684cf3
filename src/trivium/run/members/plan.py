"""An ensemble that is to be made: checked before any work."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from trivium.errors import RecipeError
from trivium.parts.tasks import Task
from trivium.recipe import Recipe
from trivium.run.folder.names import ENSEMBLE, ENVIRONMENT, MEMBERS, PREDICTIONS, RECIPE, SCORES
from trivium.run.folder.panels import Panel
from trivium.run.folder.start import refuse_taken
from trivium.run.members.judged import judged_recipe
from trivium.run.members.opened import Member, open_members, panels_of
from trivium.run.rows.load import load_data
from trivium.run.rows.splits import JUDGED, Data, Split
from trivium.run.screen.grid import short_names
from trivium.types import How

NAMES = [ENSEMBLE, MEMBERS, RECIPE, ENVIRONMENT, SCORES, PREDICTIONS]


@dataclass(frozen=True, slots=True)
class EnsemblePlan:
    """What an ensemble is to be made of, checked."""

    members: list[Member]
    panels: dict[str, Panel]
    recipe: Recipe | None
    """What the ensemble is judged on; None where no member says."""
    data: Data

    @property
    def tasks(self) -> dict[str, Task]:
        return {n: self.members[panel.members[0]].tasks[n] for n, panel in self.panels.items()}

    @property
    def shown(self) -> list[str]:
        """The members' names on a screen."""
        return short_names([m.name for m in self.members])

    def dev(self, task: str) -> Split | None:
        return self.data.get(task, {}).get("dev")


def found_ensemble(folder: Path) -> list[str] | None:
    """What an ensemble's folder consists of; None where there is none in it."""
    return NAMES if (folder / ENSEMBLE).is_file() else None


def plan_ensemble(runs: Sequence[str | Path], out: Path, how: str, overwrite: bool) -> EnsemblePlan:
    """What an ensemble of these runs will be. Raises RecipeError where they cannot be one, or `out`
    must not be written to. Writes nothing.
    """
    if how not in get_args(How):
        raise RecipeError(f"--how {how}: is none of {', '.join(get_args(How))}.")
    members = open_members(runs)
    panels = panels_of(members, cast(How, how))
    folders = [member.folder for member in members]
    refuse_taken(out, folders, "ensemble", found_ensemble, overwrite=overwrite)
    recipe = judged_recipe(members, panels)
    plan = EnsemblePlan(members, panels, recipe, load_data(recipe, JUDGED)[1] if recipe else {})
    if how == "weights" and not any(map(plan.dev, panels)):
        raise RecipeError(
            "--how weights: no task has dev rows to choose by. Name whole runs, whose recipes have "
            "dev files, or use --how mean."
        )
    return plan
