"""What tells that a table is answered: a file beside its answers, of what they were made."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trivium.apps.batch.files import Part, record_of
from trivium.apps.batch.remote import Place, Remote
from trivium.digest import sha256
from trivium.errors import RecipeError
from trivium.run.folder.atomic import write_text
from trivium.run.folder.locks import alone
from trivium.run.folder.names import ENSEMBLE, MANIFEST, MEMBERS
from trivium.run.predictor.kept import model_home


@dataclass(frozen=True, slots=True)
class Before:
    """What was noted of a table before a try."""

    told: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Ledger:
    """Which tables of a folder are answered by this model, asked in this way."""

    folder: Place
    asked: Mapping[str, Any]
    """The model's sha256 and all that was asked of it, as JSON has it."""

    def rows_of(self, part: Part) -> int | None:
        """How many rows were answered; None where the answers are not there, or are others'."""
        told = self._read(part)
        if told is None or told.get("answers") is None or not part.target.is_file():
            return None
        try:
            about = self.about(part)
        except RecipeError:  # which whoever answers it is told
            return None
        same = told == about | {"rows": told.get("rows"), "answers": told["answers"]}
        return int(told["rows"]) if same and told["answers"] == identity(part.target) else None

    def is_begun(self, part: Part) -> bool:
        """Whether answers that are there are an earlier try's that was not finished."""
        told = self._read(part)
        return told is not None and told.get("answers") is None

    def about(self, part: Part) -> dict[str, Any]:
        """What answers to the table, as it is now, are made of. Raises RecipeError where it cannot
        be read."""
        try:
            source = identity(part.source)
        except OSError as error:
            raise RecipeError(f"{part.source}: cannot be read: {error.strerror}.") from error
        return {"asked": dict(self.asked), "source": source}

    @contextmanager
    def alone(self, part: Part, waiting: Callable[[], object]) -> Iterator[None]:
        """While the block lasts, no other process answers this table, unless behind a URL; before,
        the end of one that does is waited for, and `waiting` called each time it is looked for."""
        path = self._path(part)
        if isinstance(path, Remote):
            yield
            return
        with alone(path, waiting):
            yield

    def begin(self, part: Part, about: Mapping[str, Any]) -> Before:
        """Note that answers are about to be written: a file of their name, should this try not come
        to its end, is then ours to replace, unless it is still what was there. What was noted
        before."""
        before = Before(self._read(part))
        ours = before.told is not None and before.told.get("answers") is None
        there = identity(part.target) if not ours and part.target.is_file() else None
        kept = {"before": {"answers": there, "told": before.told}} if there else {}
        self._write(part, {**about, "rows": None, "answers": None, **kept})
        return before

    def take_back(self, part: Part, before: Before) -> None:
        """A try that was begun has written nothing: a file of its name is no more ours to replace
        than it was."""
        told = before.told
        if told is None or (told.get("answers") is None and not part.target.exists()):
            self._path(part).unlink(missing_ok=True)
        else:
            self._write(part, told)

    def end(self, part: Part, about: Mapping[str, Any], rows: int) -> None:
        """Note that the answers are whole. about: from before the table was read; of one that has
        changed since it tells that the answers are another table's."""
        self._write(part, {**about, "rows": rows, "answers": identity(part.target)})

    def _path(self, part: Part) -> Place:
        return record_of(self.folder, part.name)

    def _read(self, part: Part) -> dict[str, Any] | None:
        """What is noted; where a try was begun and has written nothing, what was before it."""
        try:
            told = json.loads(self._path(part).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        before = told.get("before") if isinstance(told, dict) else None
        if before and part.target.is_file() and identity(part.target) == before["answers"]:
            told = before["told"]
        return told if isinstance(told, dict) else None

    def _write(self, part: Part, told: Mapping[str, Any]) -> None:
        path, text = self._path(part), json.dumps(told, indent=2) + "\n"
        if isinstance(path, Remote):
            path.write_text(text)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)


def identity(path: Place) -> dict[str, Any]:
    """What a file is told apart by."""
    if isinstance(path, Remote):
        return path.identity()
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}


def model_digest(folder: Path) -> str:
    """Of the sha256 of all that a run, an ensemble or an exported model answers with."""
    home = model_home(folder)
    seals = [home / ENSEMBLE] if (home / ENSEMBLE).is_file() else []
    seals += sorted(home.glob(f"{MEMBERS}/*/{MANIFEST}")) if seals else [home / MANIFEST]
    whole = hashlib.sha256()
    for seal in seals:
        try:
            whole.update(seal.read_bytes())
        except FileNotFoundError as error:
            raise RecipeError(f"{folder}: holds no model ({seal.name} is missing).") from error
    return whole.hexdigest()
