"""Which tables are meant, what their answers are called, and whose they are to be."""

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from trivium.apps.batch.remote import Place, found_at, inside_of, place_of
from trivium.errors import RecipeError
from trivium.run.cluster.remote import is_url
from trivium.run.folder.atomic import refuse_file
from trivium.text.lines import format_of

READ_ONLY = ("json", "xlsx")
"""Formats whose answers are CSV."""
DONE = ".done"
"""Folder, beside the answers, of what tells of them."""


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
    the folders below its fixed beginning. Answers that are in `out` are left out. All of them, and
    `out`, may be URLs that fsspec knows. Raises RecipeError where nothing is found, a file is no
    table, two would have one name, and answers the name of their table; RemoteError where a URL's
    place does not answer.
    """
    home = place_of(out)
    _refuse_file(sources, home)
    tables = {given: list(_found(given)) for given in map(str, sources)}
    answers = _answers([pair for found in tables.values() for pair in found], home)
    parts: dict[str, Part] = {}
    for given, found in tables.items():
        if not found:
            raise RecipeError(f"--file {given}: no such table, and no table in it.")
        if all(at in answers for _, at in found):
            raise RecipeError(
                f"--file {given}: holds answers only, of earlier calls with this --out ({home}). "
                "Name the tables that they were made of."
            )
        for inside, at in found:
            if at not in answers:
                _add(parts, _part(inside, at, home))
    return [parts[name] for name in sorted(parts)]


def record_of(home: Place, name: str) -> Place:
    """What tells of the answers of this name in a folder, from before they are begun."""
    return home / f"{DONE}/{name}.json"


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


def _answers(tables: Sequence[tuple[str, Place]], home: Place) -> set[Place]:
    """Those of the tables that are answers of others, or of others that were there once."""
    below = [(name, at) for _, at in tables if (name := inside_of(at, home)) is not None]
    if not below:
        return set()
    parts = [_part(inside, at, home) for inside, at in tables]
    written = {part.target for part in parts if part.target != part.source}
    return {at for name, at in below if at in written or record_of(home, name).exists()}


def _part(inside: str, at: Place, home: Place) -> Part:
    name = _answers_name(inside, at)
    return Part(name, at, home / name)


def _add(parts: dict[str, Part], part: Part) -> None:
    """Raises RecipeError for answers that would replace their table, or another's."""
    if _is_one(part.source, part.target):
        raise RecipeError(
            f"{part.source}: its answers would take its place; name another folder (--out)."
        )
    other = parts.setdefault(part.name, part)
    if other.source != part.source:
        raise RecipeError(
            f"{part.source}: its answers would be called {part.name}, as those of {other.source}. "
            "Answer them into folders of their own."
        )


def _is_one(source: Place, target: Place) -> bool:
    if isinstance(source, Path) and isinstance(target, Path):
        return target.exists() and target.samefile(source)
    return source == target


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
        root, pattern = _typed(given)
        for match in sorted(glob.glob(pattern, root_dir=root, recursive=True)):
            if (root / match).is_file():
                yield Path(match).as_posix(), root / match


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


def _typed(given: str) -> tuple[Path, str]:
    """The folder that is named in full, whatever characters its name has, and the pattern in it."""
    words = Path(os.path.normpath(given)).parts
    known = len(words) - 1
    for place, word in enumerate(words[:-1]):
        if glob.has_magic(word) and not Path(*words[: place + 1]).exists():
            known = place
            break
    return Path(os.path.abspath(Path(*words[:known]))), os.path.join(*words[known:])


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
