"""Which tables are meant, what their answers are called, and whose they are to be."""

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from trivium.apps.batch.remote import Place, found_at, is_below, place_of
from trivium.errors import RecipeError
from trivium.run.cluster.remote import is_url
from trivium.run.folder.atomic import refuse_file
from trivium.text.lines import format_of

READ_ONLY = ("json", "xlsx")
"""Formats whose answers are CSV."""


@dataclass(frozen=True, slots=True)
class Part:
    """A table and where its answers go. Paths are absolute."""

    name: str
    """Of the answers, within their folder."""
    source: Place
    target: Place


def are_many(sources: Sequence[str | Path]) -> bool:
    """Whether more is meant than one table, which has answers in a file of any name."""
    if len(sources) != 1 or is_url(sources[0]):
        return True
    return Path(sources[0]).is_dir() or _is_pattern(str(sources[0]))


def parts_of(sources: Sequence[str | Path], out: str | Path) -> list[Part]:
    """The tables of files, folders and patterns (`*`, `?`, `[..]`, and `**` for any folders), by
    the names of their answers.

    Of a folder all that have a table's ending, and none that is below. What a pattern matches keeps
    the folders below its fixed beginning. What is in `out` is left out. All of them, and `out`, may
    be URLs that fsspec knows. Raises RecipeError where nothing is found, a file is no table, and
    two would have one name; RemoteError where a URL's place does not answer.
    """
    home = place_of(out)
    _refuse_file(sources, home)
    parts: dict[str, Part] = {}
    for given in sources:
        found = [(inside, at) for inside, at in _found(str(given)) if not is_below(at, home)]
        if not found:
            raise RecipeError(f"--file {given}: no such table, and no table in it.")
        for inside, at in found:
            name = _answers_name(inside, at)
            part = Part(name, at, home / name)
            other = parts.setdefault(name, part)
            if other.source != at:
                raise RecipeError(
                    f"{at}: its answers would be called {name}, as those of {other.source}. "
                    "Answer them into folders of their own."
                )
    return [parts[name] for name in sorted(parts)]


def shard_of(text: str) -> tuple[int, int]:
    """3/8 as the third of eight. Raises RecipeError."""
    match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    number, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= count:
        raise RecipeError(f"--shard {text}: is no share such as 3/8, the third of eight.")
    return number, count


def dealt(parts: Iterable[Part], shard: tuple[int, int]) -> list[Part]:
    """The files of one shard: dealt one by one, in the order of their names, as cards are."""
    number, count = shard
    return [part for place, part in enumerate(parts) if place % count == number - 1]


def _found(given: str) -> Iterator[tuple[str, Place]]:
    """Tables, each with its name below what is fixed."""
    if is_url(given):
        yield from _found_at(given)
        return
    path = Path(os.path.abspath(given))
    if path.is_dir():
        for one in sorted(path.iterdir()):
            if one.is_file() and not one.name.startswith(".") and _is_table(one):
                yield one.name, one
    elif path.exists() or not _is_pattern(given):
        if path.exists():
            yield path.name, path
    else:
        root = _fixed(path)
        for match in sorted(glob.glob(str(path), recursive=True)):
            if Path(match).is_file():
                yield Path(match).relative_to(root).as_posix(), Path(match)


def _found_at(url: str) -> Iterator[tuple[str, Place]]:
    """Of a folder the tables; of what is named or matched, all."""
    is_named = glob.has_magic(url) or _is_table(Path(url))
    for inside, remote in found_at(url):
        if is_named or _is_table(Path(inside)):
            yield inside, remote


def _refuse_file(sources: Sequence[str | Path], home: Place) -> None:
    """Raises RecipeError where answers of many tables are to be in one file."""
    if isinstance(home, Path):
        refuse_file(home, "the answers")
    is_folder = isinstance(home, Path) and home.is_dir()
    if any(map(is_url, sources)) and not is_folder and _is_table(Path(home.name)):
        raise RecipeError(
            f"--out {home}: is named as a file. Of tables behind URLs, each has answers of its own "
            "name in a folder; name that."
        )


def _is_pattern(given: str) -> bool:
    return glob.has_magic(given) and not Path(given).exists()


def _fixed(pattern: Path) -> Path:
    """The folders that a pattern names in full."""
    folder = Path(pattern.anchor)
    for word in pattern.parts[1:-1]:
        if glob.has_magic(word):
            break
        folder /= word
    return folder


def _is_table(path: Path) -> bool:
    try:
        format_of(path)
    except RecipeError:
        return False
    return True


def _answers_name(inside: str, place: Place) -> str:
    """Raises RecipeError for a file that is no table."""
    name = PurePosixPath(inside)
    try:
        kind = format_of(Path(inside))
    except RecipeError as error:
        raise RecipeError(str(error).replace(inside, str(place), 1)) from error
    return (name.with_suffix(".csv") if kind in READ_ONLY else name).as_posix()
