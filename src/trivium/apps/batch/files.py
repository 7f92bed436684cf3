"""Which tables are meant, what their answers are called, and whose they are to be."""

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from trivium.errors import RecipeError
from trivium.text.lines import format_of

READ_ONLY = ("json", "xlsx")
"""Formats whose answers are CSV."""


@dataclass(frozen=True, slots=True)
class Part:
    """A table and where its answers go. Both paths are absolute."""

    name: str
    """Of the answers, within their folder."""
    source: Path
    target: Path


def are_many(sources: Sequence[str | Path]) -> bool:
    """Whether more is meant than one table, which has answers in a file of any name."""
    return len(sources) != 1 or Path(sources[0]).is_dir() or _is_pattern(str(sources[0]))


def parts_of(sources: Sequence[str | Path], out: str | Path) -> list[Part]:
    """The tables of files, folders and patterns (`*`, `?`, `[..]`, and `**` for any folders), by
    the names of their answers.

    Of a folder all that have a table's ending, and none that is below. What a pattern matches keeps
    the folders below its fixed beginning. What is in `out` is left out. Raises RecipeError where
    nothing is found, a file is no table, and two would have one name.
    """
    home = Path(os.path.abspath(out))
    parts: dict[str, Part] = {}
    for given in sources:
        found = [(root, path) for root, path in _found(str(given)) if home not in path.parents]
        if not found:
            raise RecipeError(f"--file {given}: no such table, and no table in it.")
        for root, path in found:
            name = _answers_name(path, root)
            part = Part(name, path, home / name)
            other = parts.setdefault(name, part)
            if other.source != path:
                raise RecipeError(
                    f"{path}: its answers would be called {name}, as those of {other.source}. "
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


def _found(given: str) -> Iterator[tuple[Path, Path]]:
    """Tables, each with the folder that its name begins after."""
    path = Path(os.path.abspath(given))
    if path.is_dir():
        for inside in sorted(path.iterdir()):
            if inside.is_file() and not inside.name.startswith(".") and _is_table(inside):
                yield path, inside
    elif path.exists() or not _is_pattern(given):
        if path.exists():
            yield path.parent, path
    else:
        root = _fixed(path)
        for match in sorted(glob.glob(str(path), recursive=True)):
            if Path(match).is_file():
                yield root, Path(match)


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


def _answers_name(path: Path, root: Path) -> str:
    """Raises RecipeError for a file that is no table."""
    inside = path.relative_to(root)
    return (inside.with_suffix(".csv") if format_of(path) in READ_ONLY else inside).as_posix()
