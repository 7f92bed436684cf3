"""Where machines without a common folder hand runs over: whole, or not at all.

A run there is `NAME/latest.json`, which names a folder beside it, its files with their sha256, and
whether the run is finished, or else how far it is. A folder is written under a name of its own, and
named when all of it is there; so what is named is whole, whoever is killed when.
"""

import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pydantic import ValidationError, field_validator

from trivium.digest import sha256
from trivium.errors import RecipeError
from trivium.jsons import first_problem
from trivium.run.cluster.remote import (
    RemoteError,
    file_system,
    in_words,
    is_url,
    make_folder,
    put_whole,
)
from trivium.run.folder.atomic import whole_folder
from trivium.run.folder.names import JOURNAL, RESUME, STATE
from trivium.run.folder.records import Record

LATEST = "latest.json"
LOOK_EVERY_S = 1.0


class Handed(Record):
    """What is told of a run that was handed over."""

    folder: str
    """Its name, beside what tells of it."""
    finished: bool
    files: dict[str, str]
    """The sha256 of each."""
    checkpoint: int = 0
    """The number of the last one, in a run that is not finished."""

    @field_validator("folder", "files")
    @classmethod
    def _stay_inside(cls, names: str | dict[str, str]) -> str | dict[str, str]:
        for name in (names,) if isinstance(names, str) else names:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or not path.parts:
                raise ValueError("names a file that is not in the run's folder")
        return names

    def is_behind(self, other: "Handed | None") -> bool:
        """Whether another one, of the same run, is not to be replaced by this."""
        if other is None or (self.finished and not other.finished):
            return False
        return other.finished or other.checkpoint > self.checkpoint


class Store:
    """A place for runs, by the names that they have in a study's or a search's folder."""

    def __init__(self, url: str) -> None:
        """Raises RecipeError for a URL that is none, or is known to nobody here."""
        if not is_url(url):
            raise RecipeError(f"--store {url}: is no URL such as s3://bucket/study.")
        if url.startswith("memory://"):
            raise RecipeError(f"--store {url}: lives in one process; name a place that all see.")
        try:
            self.files, self.root = file_system(url)
        except RecipeError as error:
            raise RecipeError(f"--store {error}") from error
        self.url = url

    def refuse_unwritable(self) -> None:
        """RecipeError where nothing can be handed over."""
        probe = f"{self.root}/.{uuid.uuid4().hex}"
        try:
            with in_words(self.url):
                make_folder(self.files, self.root)
                self.files.pipe_file(probe, b"")
                self.files.rm_file(probe)
        except RemoteError as error:
            reason = str(error).removeprefix(f"{self.url}: ")
            raise RecipeError(f"--store {self.url}: cannot be written to: {reason}.") from error

    def latest(self, name: str) -> Handed | None:
        """What was handed over last of a run; None where nothing was. Raises RemoteError, and
        RecipeError where what is there tells of no run."""
        try:
            with in_words(self.url, missing=True):
                told = self.files.cat_file(f"{self.root}/{name}/{LATEST}")
        except FileNotFoundError:
            return None
        try:
            return Handed.model_validate_json(told)
        except ValidationError as error:
            what = f"{self.url}/{name}: {LATEST} tells of no run: {first_problem(error)}"
            raise RecipeError(f"{what}. {self._remedy(name)}") from error

    def put(self, name: str, folder: Path, *, is_finished: bool) -> None:
        """Hand a run over as it is now, unless one that is finished, or further, is there: of two
        that train it, the slower one takes nothing back. folder: nothing changes in it meanwhile.
        Raises RecipeError and RemoteError."""
        home, fresh = f"{self.root}/{name}", uuid.uuid4().hex
        number = max(generations(folder), default=0)
        told = Handed(folder=fresh, finished=is_finished, files={}, checkpoint=number)
        if told.is_behind(self.latest(name)):
            return
        with in_words(f"{self.url}/{name}"):
            told = told.model_copy(update={"files": self._put(folder, f"{home}/{fresh}")})
            before = self.latest(name)  # once more: it took a while
            if told.is_behind(before):
                needless = fresh
            else:
                put_whole(self.files, f"{home}/{LATEST}", told.model_dump_json(indent=2).encode())
                needless = "" if before is None else before.folder
            if needless:
                with suppress(FileNotFoundError):
                    self.files.rm(f"{home}/{needless}", recursive=True)

    def _put(self, folder: Path, home: str) -> dict[str, str]:
        """Copy all files of a folder; the sha256 of each."""
        digests = {}
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                inside = path.relative_to(folder).as_posix()
                target = f"{home}/{inside}"
                make_folder(self.files, target.rpartition("/")[0])
                self.files.put_file(str(path), target)
                digests[inside] = sha256(path)
        return digests

    def get(self, name: str, folder: Path) -> bool:
        """Fetch a run, whole, into a folder that is not there; whether there was one.

        Raises RecipeError where a file is not what was handed over, and RemoteError.
        """
        told = self.latest(name)
        if told is None:
            return False
        folder.parent.mkdir(parents=True, exist_ok=True)
        with whole_folder(folder) as fresh:
            for inside, digest in told.files.items():
                target = fresh / inside
                target.parent.mkdir(parents=True, exist_ok=True)
                with in_words(f"{self.url}/{name}"):
                    source = f"{self.root}/{name}/{told.folder}/{inside}"
                    self.files.get_file(source, str(target))
                if sha256(target) != digest:
                    raise RecipeError(
                        f"{self.url}/{name}: {inside} is not what was handed over. "
                        f"{self._remedy(name)}"
                    )
        return True

    def _remedy(self, name: str) -> str:
        return f"Delete {self.url}/{name}, and the run begins anew."

    def add_log(self, name: str, text: str) -> None:
        """What a child process said, after what earlier ones said. Raises RemoteError."""
        before = self.log(name)
        with in_words(f"{self.url}/{name}"):
            make_folder(self.files, f"{self.root}/{name}")
            self.files.pipe_file(f"{self.root}/{name}/log", (before + text).encode())

    def log(self, name: str) -> str:
        """Raises RemoteError."""
        try:
            with in_words(f"{self.url}/{name}", missing=True):
                found = bytes(self.files.cat_file(f"{self.root}/{name}/log"))
            return found.decode("utf-8", "replace")
        except FileNotFoundError:
            return ""


@dataclass(slots=True)
class Handing:
    """Hands a run over at each of its checkpoints, while a child trains it in `folder`."""

    store: Store
    name: str
    folder: Path
    scratch: Path
    """A folder beside it, for a moment's view of it."""
    _handed: int = 0
    _looked: float = field(default_factory=time.monotonic)

    def watch(self, _log_start: int, _waits_for: str) -> None:
        now = time.monotonic()
        if now - self._looked < LOOK_EVERY_S:
            return
        self._looked = now
        newest = max(generations(self.folder), default=0)
        if newest <= self._handed:
            return
        try:
            if self.hand_over():
                self._handed = newest
        except (RecipeError, RemoteError) as error:
            # Training goes on, and the next look tries again.
            with self.folder.with_name(f"{self.folder.name}.log").open("a") as log:
                print(f"checkpoint {newest} not handed over: {error}", file=log)

    def hand_over(self) -> bool:
        """Whether nothing changed while it was looked at; only then was it handed over. Raises
        RecipeError and RemoteError."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        try:
            before = _signature(self.folder)
            _view(self.folder, self.scratch)
            if _signature(self.folder) != before:
                return False
        except FileNotFoundError:  # renamed while it was looked at
            return False
        self.store.put(self.name, self.scratch, is_finished=False)
        return True


def generations(folder: Path) -> Iterator[int]:
    """The numbers of a run's checkpoints."""
    for state in (folder / RESUME).glob(f"*/{STATE}"):
        if state.parent.name.isdigit():
            yield int(state.parent.name)


def _view(folder: Path, target: Path) -> None:
    """A folder as it is now. Its files are never changed, but replaced: all but the journal."""
    for path in sorted(folder.rglob("*")):
        copy = target / path.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path.name == JOURNAL:
            shutil.copyfile(path, copy)
        elif not path.is_dir():
            os.link(path, copy)


def _signature(folder: Path) -> dict[str, int]:
    """Which files are there, by their numbers: who renames one changes it."""
    return {
        str(path.relative_to(folder)): path.stat().st_ino
        for path in folder.rglob("*")
        if path.name != JOURNAL
    }
