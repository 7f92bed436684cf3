"""The folder of a search: whose it is, where its trials are, and one worker at a time in it."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from trivium.errors import RecipeError
from trivium.recipe import Recipe, RecipeFile
from trivium.recipe.dumping import dump_file
from trivium.recipe.parse import parse_file
from trivium.recipe.plain_yaml import read_yaml
from trivium.run.folder.atomic import write_text
from trivium.run.folder.differences import differences, in_words
from trivium.run.folder.locks import wait_for_lock
from trivium.run.folder.names import RECIPE as RUN_RECIPE
from trivium.run.folder.records import Record, read_record, write_record
from trivium.run.folder.start import is_trace
from trivium.run.jobs.child import Job

RECIPE = "search.yaml"
"""The recipe that the search began with, whole, with its search."""
STUDY = "study.json"
LOCK = ".lock"
TRIALS = "trials"
MAY_CHANGE = ("search.trials", "search.timeout")
"""When the same search goes on."""
_OURS = {STUDY, LOCK}
"""What a search that was killed in its first moment leaves."""


class _About(Record):
    """study.json"""

    damaged: ClassVar[str] = "copy the whole folder again, or name another one with --out"

    home: str
    storage: str


@dataclass(frozen=True, slots=True)
class Folder:
    """Where a search keeps its runs and results. Any number of workers may share it."""

    path: Path
    home: str
    """Tells this folder from others that use the same storage, whatever it is mounted as."""
    storage: str
    """What the storage was called, without a password."""

    @contextmanager
    def locked(self) -> Iterator[None]:
        """While this process alone chooses a trial, or writes the results."""
        with (self.path / LOCK).open("a", encoding="utf-8") as file:
            wait_for_lock(file)
            yield

    def job(self, number: int, recipe: Recipe) -> Job:
        """The run of a trial."""
        stem = self.path / TRIALS / f"{number:04d}"
        return Job(stem.with_suffix(".yaml"), recipe, stem)

    @property
    def has_trials(self) -> bool:
        return (self.path / TRIALS).is_dir() and any((self.path / TRIALS).iterdir())


def open_folder(out: Path, file: RecipeFile, storage: str) -> Folder:
    """The folder of this search, made if it is not there.

    file: the recipe, with its search and nothing else.

    Raises RecipeError, and writes nothing, where it is another thing's, another recipe's or
    another storage's.
    """
    _refuse_foreign(out)
    if (out / RECIPE).is_file():
        _refuse_other_recipe(out, file)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with (out / LOCK).open("a", encoding="utf-8") as lock:
            wait_for_lock(lock)
            if not (out / RECIPE).is_file():  # or else a worker that came first has written it
                write_record(out / STUDY, _About(home=uuid.uuid4().hex, storage=storage))
                write_text(out / RECIPE, dump_file(file))
    except OSError as error:
        raise RecipeError(
            f"{out}: cannot be written to, or has no locks (flock), by which workers know of one "
            f"another: {error.strerror}. Name another folder with --out."
        ) from error
    _refuse_other_recipe(out, file)
    about = read_record(out / STUDY, _About)
    if about.storage != storage:
        raise RecipeError(
            f"{out}: this search began with --storage {about.storage}, not {storage}. Go on "
            "with that, or name another folder with --out."
        )
    return Folder(out, about.home, storage)


def other_settings(old: RecipeFile, new: RecipeFile, *left_out: str) -> str:
    """Where a search differs from how it began, in words; nothing if it does not."""
    every = differences(old.table(), new.table())
    changes = [difference for difference in every if difference[0] not in (*MAY_CHANGE, *left_out)]
    return in_words(changes)


def _refuse_foreign(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise RecipeError(f"{out}: is a file; name a folder for the search with --out.")
    if not out.is_dir() or (out / RECIPE).is_file():
        return
    if (out / RUN_RECIPE).is_file():
        raise RecipeError(f"{out}: holds a run, not a search; name another folder with --out.")
    names = sorted(path.name for path in out.iterdir())
    if foreign := [name for name in names if name not in _OURS and not is_trace(name)]:
        raise RecipeError(
            f"{out}: holds {foreign[0]!r} but no search; name another folder with --out."
        )


def _refuse_other_recipe(out: Path, file: RecipeFile) -> None:
    old = parse_file(read_yaml(out / RECIPE), str(out / RECIPE))
    if changes := other_settings(old, file):
        raise RecipeError(
            f"{out}: this search began with another recipe: {changes}. Nothing was changed. Put "
            "the settings back, or name another folder with --out."
        )
