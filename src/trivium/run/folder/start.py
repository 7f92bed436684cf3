"""A run's folder at its start: refused where something would be lost, else described."""

import json
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from trivium.errors import RecipeError
from trivium.recipe import Recipe, dump_recipe, parse_recipe
from trivium.recipe.plain_yaml import read_yaml
from trivium.run.folder.atomic import (
    is_leftover,
    recover,
    refuse_file,
    remove_leftovers,
    staged,
)
from trivium.run.folder.differences import ABSENT, Difference, differences, in_words
from trivium.run.folder.environment import environment
from trivium.run.folder.given import remove_given
from trivium.run.folder.locks import is_lock_inside
from trivium.run.folder.names import ENSEMBLE, ENVIRONMENT, GIVEN, RECIPE, REPLACED
from trivium.run.folder.replaced import set_aside
from trivium.run.folder.writable import try_writing


def refuse_unusable(run_dir: Path, *, resume: bool, overwrite: bool) -> None:
    """Refuse, before any work, a folder that training must not or cannot write to."""
    refuse_file(run_dir, "the run")
    holds = run_dir.is_dir() and not all(is_trace(path.name) for path in run_dir.iterdir())
    if (run_dir / ENSEMBLE).is_file():
        raise RecipeError(
            f"{run_dir}: is an ensemble, not a run to be trained. Name another folder."
        )
    is_run = (run_dir / RECIPE).is_file()
    if resume and not is_run:
        raise RecipeError(f"{run_dir}: there is no run to resume. Leave --resume out to start one.")
    if holds and not is_run:
        why = " --overwrite replaces runs only." if overwrite else ""
        raise RecipeError(f"{run_dir}: is not empty and not a run; name another folder.{why}")
    if holds and not (resume or overwrite):
        raise RecipeError(
            f"{run_dir}: already holds a run. Go on with it (--resume), replace it (--overwrite), "
            "or name another folder."
        )
    try_writing(run_dir)


def start_run(run_dir: Path, recipe: Recipe, *, overwrite: bool) -> None:
    """Make the folder, with the whole recipe and the environment in it.

    What is to be replaced is set aside once they are on the disk (`folder.replaced`).
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    remove_leftovers(run_dir)
    made = json.dumps(environment().as_dict(), indent=2) + "\n"
    told = dump_recipe(_movable(recipe, run_dir))
    with staged(run_dir / ENVIRONMENT, made), staged(run_dir / RECIPE, told):
        if overwrite and (run_dir / RECIPE).is_file():
            set_aside(run_dir)
            if not (run_dir / REPLACED).is_dir():  # nothing was: it is gone
                remove_given(run_dir, told)


def is_trace(name: str) -> bool:
    """Whether a file tells of a process that was killed in its first moment, or is at work."""
    return is_leftover(name) or is_lock_inside(name)


def refuse_taken(
    out: Path,
    runs: Sequence[Path],
    what: str,
    found: Callable[[Path], Collection[str] | None],
    *,
    overwrite: bool,
) -> None:
    """Refuse, before any work, a folder that something made of `runs` must not be written to.

    what: the thing, in a word; found: what the one in a folder consists of, None where what is
    there is no such thing; overwrite: whether one that is there is to be replaced. Finishes a
    replacement that a crash interrupted, before anything is looked for.
    """
    recover(out)
    refuse_file(out, f"the {what}")
    held = sorted(p.name for p in out.iterdir() if not is_trace(p.name)) if out.is_dir() else []
    names = found(out)
    if held and names is None:
        raise RecipeError(f"{out}: is not empty and holds no {what}; name another folder.")
    if held and not overwrite:
        raise RecipeError(
            f"{out}: there is an earlier {what}. Replace it (--overwrite), or name another folder."
        )
    for run in runs:
        if run.resolve().is_relative_to(out.resolve()):
            raise RecipeError(f"{out}: holds {run}, which would be lost; name another folder.")
    if foreign := [name for name in held if name not in (names or ())]:
        raise RecipeError(
            f"{out}: holds {foreign[0]!r}, which is no part of the {what} and would be lost. "
            "Move it away, or name another folder."
        )
    try_writing(out)


def check_same_recipe(run_dir: Path, recipe: Recipe) -> None:
    """Resuming with another recipe would be neither run: refused, with the first difference."""
    # Whether a probe is judged before training changes nothing of it.
    old = run_recipe(run_dir).model_dump(mode="json", exclude={"probe"})
    new = recipe.model_dump(mode="json", exclude={"probe"})
    if changes := [one for one in differences(old, new) if not _says_nothing(one)]:
        difference = in_words(changes[:1])
        is_cut = re.match(r"stages\.\d+\.(steps|evaluate_every) was", difference)
        more = " A run that began with --minutes goes on with --minutes." if is_cut else ""
        raise RecipeError(
            f"{run_dir}: --resume: the recipe is not the one this run began with: {difference}. "
            f"Use {run_dir / RECIPE}, or start a new run.{more}"
        )


def run_recipe(run_dir: Path) -> Recipe:
    """The whole recipe a run was started with."""
    path = run_dir / RECIPE
    recipe = parse_recipe(read_yaml(path), str(path))
    if recipe.data == GIVEN:
        recipe = recipe.model_copy(update={"data": str(run_dir.resolve() / GIVEN)})
    return recipe


def _movable(recipe: Recipe, run_dir: Path) -> Recipe:
    """The recipe as its own folder has it: data that lies there moves with it."""
    is_inside = Path(recipe.data) == run_dir.resolve() / GIVEN
    return recipe.model_copy(update={"data": GIVEN}) if is_inside else recipe


def _says_nothing(difference: Difference) -> bool:
    """Whether a setting is absent on one side and not set on the other."""
    return all(value is None or value is ABSENT for value in difference[1:])
