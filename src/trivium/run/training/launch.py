"""How a run begins: anew, or where it was. Its caller says so, and torchrun, where it has started
the processes of a launch again."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from trivium.errors import RecipeError
from trivium.recipe import Recipe, dump_recipe
from trivium.run.folder.environment import launch, read_environment
from trivium.run.folder.names import RECIPE
from trivium.run.folder.replaced import settle
from trivium.run.training.distributed import Processes

Resume = bool | Literal["auto"]
"""auto: where there is a run, go on; else begin."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """What becomes of what is in the run's folder."""

    resume: bool
    overwrite: bool
    any_number: bool = False
    """Whether a run may go on with another number of processes than it had."""


def beginning(run_dir: Path, processes: Processes, *, resume: Resume, overwrite: bool) -> Beginning:
    """The same in all processes; only the first one looks into the folder.

    A run that this very launch began goes on, whatever the command says, since torchrun can only
    repeat it: so one that was to be replaced is not replaced again.
    """
    refuse_both(resume=resume, overwrite=overwrite)

    def found() -> Beginning:
        settle(run_dir)
        if _is_ours(run_dir):
            return Beginning(resume=True, overwrite=False, any_number=True)
        if resume == "auto":
            there = (run_dir / RECIPE).is_file()
            return Beginning(resume=there, overwrite=False, any_number=True)
        return Beginning(resume=resume, overwrite=overwrite)

    return processes.asked_of_first(found)


def refuse_both(*, resume: Resume, overwrite: bool) -> None:
    """Raises RecipeError where a run is to go on and to be replaced."""
    if resume and overwrite:
        option = "--auto-resume" if resume == "auto" else "--resume"
        raise RecipeError(
            f"{option} goes on with the run that is there, and --overwrite replaces it: give one "
            "of the two."
        )


def refuse_unlike(processes: Processes, recipe: Recipe, digest: str) -> None:
    """RecipeError, in all processes, where their recipes or tables are not the same: each reads the
    files of its own host. Where the folders are may differ.

    digest: of all rows.
    """
    here = recipe.model_copy(update={"data": ".", "encoder": ".", "start": None})
    wrong = {
        "recipe": _unlike(processes, dump_recipe(here)),
        "tables": _unlike(processes, digest),
    }
    for what, ranks in wrong.items():
        if ranks:
            whose = ", ".join(map(str, ranks))
            raise RecipeError(
                f"the {what} of process {whose} are not those of process 0. Every host needs the "
                "same recipe, tables and encoder; copy them, or name a folder that all can see."
            )


def _unlike(processes: Processes, fact: str) -> list[int]:
    """The processes for which it is not what it is for the first."""
    differs = torch.tensor(processes.from_first(fact) != fact)
    return [rank for rank, flag in enumerate(processes.from_each(differs)) if flag]


def _is_ours(run_dir: Path) -> bool:
    """Whether this launch began the run in the folder."""
    name = launch()
    if name is None or not (run_dir / RECIPE).is_file():
        return False
    made = read_environment(run_dir)
    return made is not None and made.launch == name
