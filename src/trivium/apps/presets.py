"""`trivium train`: one run of a recipe, or for the preset `best` several, united."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from trivium.errors import RecipeError
from trivium.recipe import AnyRecipe, load_recipe
from trivium.recipe.budget import FULL
from trivium.recipe.presets import preset_of
from trivium.run.ensemble import ensemble
from trivium.run.folder.given import Tables, hold
from trivium.run.folder.names import ENSEMBLE, RECIPE, SCORES
from trivium.run.folder.scores import read_scores
from trivium.run.folder.start import refuse_taken
from trivium.run.members.plan import found_ensemble
from trivium.run.screen.console import heard_on, say
from trivium.run.train import train as train_one
from trivium.run.training.launch import Resume, refuse_both

MEMBERS = 3
"""Seeds of the preset `best`, from the recipe's own on."""


def train(
    recipe: AnyRecipe,
    run_dir: str | Path,
    *,
    tables: Tables | None = None,
    budget: str = FULL,
    changes: Sequence[str] = (),
    only: Sequence[str] = (),
    preset: str | None = None,
    minutes: float | None = None,
    resume: Resume = False,
    overwrite: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:
    """Train a recipe into a run directory; the content of its `scores.json`, a plain dict.

    recipe: its file, or the recipe itself: see `AnyRecipe`. tables: by task a table of its training
    rows, or {"train": ..., "dev": ..., "test": ...}, in place of its files: DataFrames of any
    library, a `datasets.Dataset`, lists of dictionaries, dictionaries of columns; they are written
    into the run's folder. budget: one of the recipe's. changes: `dotted.path=value`, after the
    budget. only: these of the recipe's tasks. preset: by default what the recipe's file says, or
    `good`, the recipe as it stands; `fast`, a linear probe on the encoder as it is; `best`, runs
    with several seeds, which stay beside in `RUN_DIR-seeds`, and their ensemble in `run_dir`.
    minutes: end by then, with a model judged: there are as many steps as a few of them, timed, say
    that there is time for, never more than the recipe has, and the run's recipe says how many.
    resume: go on from the last checkpoint, bit for bit as if never stopped; "auto": go on if there
    is a run, with as many processes as there are now, else begin. overwrite: replace an earlier
    run, which is removed once the new one has its first checkpoint, or is finished, and is as it
    was if that fails before. Raises RecipeError before any work where something is wrong, and
    Interrupted after a first Ctrl-C, once the state is saved.

        scores = trivium.train("recipes/quickstart.yaml", "runs/short", changes=["seed=1"])
        scores["tasks"]["topic"]["dev"]["accuracy"]
    """
    same: dict[str, Any] = {
        "tables": tables, "budget": budget, "only": only, "console": console,
    }  # fmt: skip
    chosen = preset_of(recipe, preset)
    if chosen != "best":
        return train_one(
            recipe, run_dir, **same, changes=changes, preset=chosen, minutes=minutes,
            resume=resume, overwrite=overwrite,
        )  # fmt: skip
    refuse_both(resume=resume, overwrite=overwrite)
    out, console = Path(os.path.abspath(run_dir)), heard_on(console)
    if resume and (out / ENSEMBLE).is_file():
        say(console, f"{run_dir}: this ensemble is finished; nothing to resume.")
        return read_scores(out).as_dict()
    first = load_recipe(hold(recipe, tables, out).recipe, changes, budget, only, chosen).seed
    homes = _homes(out, first)
    _refuse(out, homes, resume=resume, overwrite=overwrite)
    until = time.monotonic() + 60 * minutes if minutes is not None else None
    for place, (seed, home) in enumerate(homes.items()):
        say(console, ("best", "bold"), f" {place + 1} of {MEMBERS}: seed {seed}, {home}")
        left = None if until is None else (until - time.monotonic()) / 60 / (MEMBERS - place)
        train_one(
            recipe, home, **same, changes=[*changes, f"seed={seed}"], preset=chosen, minutes=left,
            resume=bool(resume) and (home / RECIPE).is_file(), overwrite=overwrite,
        )  # fmt: skip
    return ensemble(list(homes.values()), out, overwrite=overwrite, console=console)


def _homes(out: Path, first: int) -> dict[int, Path]:
    """Seed -> folder of its run."""
    folder = out.with_name(f"{out.name}-seeds")
    return {seed: folder / str(seed) for seed in range(first, first + MEMBERS)}


def _refuse(out: Path, homes: dict[int, Path], *, resume: Resume, overwrite: bool) -> None:
    """Refuse, before hours of work, what would be refused after them."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RecipeError(
            "preset best: trains one run after another, and torchrun one run with several "
            "processes. Train each seed by itself (--set seed=1), then: trivium ensemble RUN RUN."
        )
    refuse_taken(out, [], "ensemble", found_ensemble, overwrite=overwrite)
    begun = [home for home in homes.values() if (home / RECIPE).is_file()]
    if resume is True and not begun:
        raise RecipeError(f"{out}: there is no run to resume. Leave --resume out to start one.")
    if begun and not resume and not overwrite:
        done = all((home / SCORES).is_file() for home in homes.values())
        how = "unite them (--resume)" if done else "go on with it (--resume)"
        raise RecipeError(
            f"{begun[0]}: already holds a run; {how}, replace it (--overwrite), or name another "
            "folder."
        )
