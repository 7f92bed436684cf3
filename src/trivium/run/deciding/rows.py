"""Rows with labels that answers may be decided upon by: dev, or a file that is given; never those
that the run was trained on, nor its test rows."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np

from trivium.digest import sha256
from trivium.errors import RecipeError
from trivium.parts.tasks import Labelled
from trivium.recipe import Recipe
from trivium.run.folder.names import RECIPE
from trivium.run.folder.provenance import read_provenance
from trivium.run.folder.start import run_recipe
from trivium.run.rows.big import is_big
from trivium.run.rows.load import load_data, read_split
from trivium.run.rows.refusals import GIVEN
from trivium.run.rows.splits import Data, Split
from trivium.text.tables import BadRow, open_table

DEV = "dev"
KEPT_APART = ("train", "test")


def labelled_rows(run: Path, tasks: Sequence[Labelled], on: str | Path) -> tuple[Data, str]:
    """Task -> split -> rows, of one split; and that split's name. Raises RecipeError."""
    if str(on) != DEV:
        (task,) = tasks
        _refuse_kept_apart(run, Path(on))
        rows = read_split(task, GIVEN, on)
        if not rows.examples:
            raise RecipeError(f"{rows.where}: has no labelled rows for task {task.name!r}.")
        return {task.name: {GIVEN: rows}}, GIVEN
    if not (run / RECIPE).is_file():
        raise RecipeError(
            f"{run}: has no recipe that says where dev rows are; name --task and --on FILE."
        )
    recipe = run_recipe(run)
    chosen = {task.name: recipe.tasks[task.name] for task in tasks if task.name in recipe.tasks}
    without = [task.name for task in tasks if not _has_dev(recipe, task.name)]
    if without:
        raise RecipeError(
            f"{run}: its recipe names no dev rows of task {without[0]!r}; name --task and --on "
            "FILE."
        )
    return load_data(recipe.model_copy(update={"tasks": chosen}), (DEV,))[1], DEV


def shared_rows(run: Path, name: str, rows: Split) -> Iterator[str]:
    """A note for rows of a file that the run was trained on, or is tested on, known by their texts;
    RecipeError where most of them were. Nothing where the run's own files cannot be read any more,
    or are too big to be read for that."""
    count = len(rows.examples)
    for split, known in _kept_apart(run, name).items():
        common = int(np.isin(rows.twins, known.twins).sum())
        what = "the run was trained on" if split == "train" else "the run is to be tested on"
        told = (
            f"the texts of {common:,} of its {count:,} rows are among those that {what} ({split})"
        )
        if 2 * common > count:
            raise RecipeError(
                f"--on {rows.where}: {told}, so what is found there would flatter it. Name dev, or "
                "a file of other rows."
            )
        if common:
            yield f"{rows.where}: {told}: what is found there flatters it as far"


def _kept_apart(run: Path, name: str) -> dict[str, Split]:
    """A task's rows that nothing is to be found on, as far as they can be read."""
    recipe = run_recipe(run) if (run / RECIPE).is_file() else None
    if recipe is None or name not in recipe.tasks:
        return {}
    task = recipe.tasks[name]
    try:
        if is_big(recipe, task):
            return {}
        alone = recipe.model_copy(update={"tasks": {name: task}, "stages": ()})
        return load_data(alone, KEPT_APART)[1][name]
    except RecipeError:
        return {}


def with_dev(run: Path, tasks: Sequence[Labelled]) -> list[Labelled]:
    """Those of the tasks that the run has dev rows of; all, where it has no recipe to tell."""
    if not (run / RECIPE).is_file():
        return list(tasks)
    recipe = run_recipe(run)
    return [task for task in tasks if _has_dev(recipe, task.name)]


def unlabelled_rows(task: Labelled, path: str | Path) -> list[tuple[str, ...]]:
    """The texts of a table, whose labels, if it has any, are not looked at. Raises RecipeError."""
    table = open_table(path, delimiter=task.delimiter, quoting=task.quoting)
    for column in task.text_columns:
        if column not in table.columns:
            raise RecipeError(
                f"--shares-from {path}: has no column {column!r}, which task {task.name!r} reads."
            )
    found = []
    for row in table:
        if isinstance(row, BadRow):
            raise RecipeError(f"{path}:{row.line}: {row.problem}")
        found.append(tuple(row.cells[column] for column in task.text_columns))
    if not found:
        raise RecipeError(f"--shares-from {path}: has no rows.")
    return found


def _has_dev(recipe: Recipe, name: str) -> bool:
    return name in recipe.tasks and bool(recipe.tasks[name].sources(DEV))


def _refuse_kept_apart(run: Path, path: Path) -> None:
    """RecipeError for a file that the run was trained on, or is tested on: by its content, or,
    where the folder does not tell that, by its place."""
    if not path.is_file():
        _tell_what_is_wrong(path)
    for split in KEPT_APART:
        if _is_of(run, path, split):
            what = "was trained on it" if split == "train" else "is to be tested on it"
            raise RecipeError(
                f"--on {path}: the run {what} ({split}), so what is found there would flatter it. "
                "Name dev, or a file of other rows."
            )


def _tell_what_is_wrong(path: Path) -> NoReturn:
    if str(path) == "-" or (path.exists() and not path.is_dir()):
        raise RecipeError(f"--on {path}: is a stream, but is read more than once; name a file.")
    try:
        open_table(path)
    except RecipeError as error:
        raise RecipeError(f"--on {error}") from None
    raise RecipeError(f"--on {path}: is no file.")


def _is_of(run: Path, path: Path, split: str) -> bool:
    known = read_provenance(run)
    names: set[str] = set()
    if known is not None:
        names |= {n for of in known.tasks.values() if split in of for n in of[split].files}
        if any(known.files[n].sha256 == sha256(path) for n in names if n in known.files):
            return True
    if not (run / RECIPE).is_file():
        return False
    recipe = run_recipe(run)
    files = [source.file for task in recipe.tasks.values() for source in task.sources(split)]
    places = [Path(recipe.data) / file for file in files]
    return any(place.is_file() and place.samefile(path) for place in places)
