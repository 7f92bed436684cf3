"""Tables and answers behind URLs: found, fetched, and handed over whole."""

import glob
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from trivium.errors import RecipeError
from trivium.run.cluster.remote import (
    file_system,
    in_words,
    is_url,
    put_whole,
)

AT_ONCE = 8 * 2**20
"""Bytes that are read."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A file or a folder behind a URL, with as much of a Path's as tables need.

    What does not answer, or refuses, is a RemoteError.
    """

    url: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, inside: str) -> "Remote":
        return Remote(f"{self.url.rstrip('/')}/{inside}")

    @property
    def name(self) -> str:
        return PurePosixPath(self.url).name

    def is_file(self) -> bool:
        files, path = file_system(self.url)
        with in_words(self.url):
            return bool(files.isfile(path))

    def exists(self) -> bool:
        files, path = file_system(self.url)
        with in_words(self.url):
            return bool(files.exists(path))

    def read_text(self, encoding: str = "utf-8") -> str:
        """Raises FileNotFoundError, too."""
        files, path = file_system(self.url)
        with in_words(self.url, missing=True):
            content = bytes(files.cat_file(path))
        return content.decode(encoding)

    def write_text(self, text: str) -> None:
        files, path = file_system(self.url)
        with in_words(self.url):
            put_whole(files, path, text.encode())

    def unlink(self, *, missing_ok: bool) -> None:
        files, path = file_system(self.url)
        with suppress(FileNotFoundError), in_words(self.url, missing=missing_ok):
            files.rm_file(path)

    def identity(self) -> dict[str, Any]:
        """As of a file that is here: how many bytes, and their sha256."""
        files, path = file_system(self.url)
        size, found = 0, hashlib.sha256()
        with in_words(self.url), files.open(path, "rb") as file:
            while content := file.read(AT_ONCE):
                size += len(content)
                found.update(content)
        return {"bytes": size, "sha256": found.hexdigest()}

    def fetch(self, path: Path) -> None:
        files, source = file_system(self.url)
        path.parent.mkdir(parents=True, exist_ok=True)
        with in_words(self.url):
            files.get_file(source, str(path))

    def put(self, path: Path) -> None:
        """All of a file of this machine, or nothing."""
        files, target = file_system(self.url)
        with in_words(self.url):
            put_whole(files, target, path)


Place = Path | Remote


def place_of(given: str | Path) -> Place:
    """What is not behind a URL is absolute."""
    return Remote(str(given)) if is_url(given) else Path(os.path.abspath(given))


def inside_of(place: Place, home: Place) -> str | None:
    """Its name below a folder, if it lies there."""
    if isinstance(place, Path) and isinstance(home, Path):
        return place.relative_to(home).as_posix() if home in place.parents else None
    above = f"{str(home).rstrip('/')}/"
    return str(place).removeprefix(above) if str(place).startswith(above) else None


def found_at(url: str) -> Iterator[tuple[str, Remote]]:
    """Files behind a URL, a folder's URL or a pattern, each with its name below what is fixed.

    As of this machine, names that begin with a dot are not meant. Raises RecipeError and
    RemoteError.
    """
    files, path = file_system(url)
    with in_words(url):
        files.invalidate_cache()
        if files.isfile(path):
            yield PurePosixPath(path).name, Remote(url)
            return
        if glob.has_magic(path):
            root, matches = _fixed(path), files.glob(path)
        else:
            root, matches = path, files.ls(path, detail=False) if files.isdir(path) else []
        for match in sorted(map(str, matches)):
            inside = match.removeprefix(root).lstrip("/")
            hidden = any(word.startswith(".") for word in inside.split("/"))
            if not hidden and files.isfile(match):
                yield inside, Remote(files.unstrip_protocol(match))


@contextmanager
def at_hand(source: Place, target: Place, *, overwrite: bool) -> Iterator[tuple[Path, Path]]:
    """Both as files of this machine while the block lasts; then answers go to where they belong.

    Raises RecipeError, in which both are called as they were given, and RemoteError.
    """
    if isinstance(source, Path) and isinstance(target, Path):
        yield source, target
        return
    if isinstance(target, Remote) and not overwrite and target.exists():
        raise RecipeError(
            f"{target}: is there already. Replace it (--overwrite), or name another folder."
        )
    with TemporaryDirectory(prefix="trivium-") as home:
        read = source if isinstance(source, Path) else Path(home) / "in" / source.name
        written = target if isinstance(target, Path) else Path(home) / "out" / target.name
        if isinstance(source, Remote):
            source.fetch(read)
        try:
            yield read, written
        except RecipeError as error:
            said = str(error).replace(str(read), str(source)).replace(str(written), str(target))
            raise RecipeError(said) from error
        if isinstance(target, Remote):
            target.put(written)


def _fixed(pattern: str) -> str:
    """The folders that a pattern names in full."""
    words = pattern.split("/")[:-1]
    magic = next((n for n, word in enumerate(words) if glob.has_magic(word)), len(words))
    return "/".join(words[:magic])
