"""Files as they are found: how each is read, what it holds, and which of them belong together."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console

from trivium.errors import RecipeError
from trivium.run.drafting.columns import SPLITS, Column
from trivium.run.drafting.rest import Rest
from trivium.run.screen.progress import OnProgress, counting
from trivium.text.encodings import Encoding, sniffed
from trivium.text.tables import BadRow, Table, open_table

MOST_ROWS = 200_000
"""Rows of a file whose cells are kept; of the others is counted what stands in columns that do not
hold texts."""
TOLD_EVERY = 10_000
_PARTS = re.compile(r"[\s_.,()-]+|(?<=[a-z])(?=[A-Z])")
_TEXT_ENDINGS = {".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".json"}


@dataclass(frozen=True)
class Found:
    """A file that was looked at."""

    path: Path
    file: str
    """What a recipe calls it: its path from the folder of data."""
    table: Table
    columns: Mapping[str, Column]
    lines: Sequence[int]
    """Where each row starts whose cells are kept."""
    rows: int
    """That could be read."""
    bad: Sequence[BadRow]
    encoding: Encoding | None = None
    """Where it is not UTF-8."""
    quoting: Literal["standard", "none"] = "standard"

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def is_whole(self) -> bool:
        """Whether the cells of all its rows are kept."""
        return self.rows == len(self.lines)

    def pairs(self, one: str, two: str) -> Iterator[tuple[str, str]]:
        """The cells of two columns, of all rows."""
        if self.is_whole:
            yield from zip(self.columns[one].cells, self.columns[two].cells, strict=True)
            return
        for row in self.table:
            if not isinstance(row, BadRow):
                yield row.cells[one], row.cells[two]


@dataclass(frozen=True)
class Group:
    """Files of one table: what is to be trained on, and what is held out, if that is there."""

    key: str
    """What their names have in common; "" where that is nothing."""
    train: Found
    dev: Found | None = None
    test: Found | None = None
    supposed: bool = False
    """Whether the training file was called dev or test."""

    @property
    def files(self) -> dict[str, Found]:
        found = {"train": self.train, "dev": self.dev, "test": self.test}
        return {split: file for split, file in found.items() if file is not None}


def look(path: Path, home: Path, console: Console | None = None) -> Found:
    """Read a file, in whatever way it can be read. home: the folder of data. console: has a count
    of the rows meanwhile. Raises RecipeError where it cannot be read."""
    encoding = None
    if path.is_file() and path.suffix.lower() in _TEXT_ENDINGS:
        with suppress(OSError):  # which the reader of its rows tells
            encoding = sniffed(path)
    encoding = None if encoding == "utf-8" else encoding
    with counting(console, path.name) as told:
        try:
            return _read(path, home, encoding, "standard", told)
        except RecipeError as error:
            if "quoting: none" not in str(error):
                raise
        return _read(path, home, encoding, "none", told)


def _read(
    path: Path,
    home: Path,
    encoding: Encoding | None,
    quoting: Literal["standard", "none"],
    told: OnProgress,
) -> Found:
    table = open_table(path, encoding=encoding, quoting=quoting)
    cells: dict[str, list[str]] = {name: [] for name in table.columns}
    lines: list[int] = []
    bad: list[BadRow] = []
    rest: dict[str, Rest] = {}
    rows = 0
    for row in table:
        if isinstance(row, BadRow):
            bad.append(row)
            continue
        rows += 1
        if rows % TOLD_EVERY == 0:
            told(rows)
        if rows > MOST_ROWS:
            rest = rest or {name: Rest(Column(name, each)) for name, each in cells.items()}
            for name, cell in row.cells.items():
                rest[name].add(cell)
            continue
        lines.append(row.line)
        for name, cell in row.cells.items():
            cells[name].append(cell)
    if bad and not lines:
        count = f"none of its {len(bad):,} rows" if len(bad) > 1 else "its only row cannot be read"
        count += " can be read; the first" if len(bad) > 1 else ""
        raise RecipeError(f"{path}:{bad[0].line}: {count}: {bad[0].problem}")
    if not lines:
        raise RecipeError(f"{path}: has no rows below its header.")
    columns = {
        name: rest[name].column if rest else Column(name, each) for name, each in cells.items()
    }
    _refuse_headless(path, columns)
    file = path.relative_to(home).as_posix()
    return Found(path, file, table, columns, lines, rows, bad, encoding, quoting)


def left_unread(file: Found) -> str:
    """Why less may have been found in a file than there is; "" where all of it was read."""
    if not file.bad:
        return ""
    how_many = "1 row was" if len(file.bad) == 1 else f"{len(file.bad):,} rows were"
    first = file.bad[0]
    return f" {how_many} not looked at: line {first.line} {first.problem.rstrip('.')}."


def _refuse_headless(path: Path, columns: Mapping[str, Column]) -> None:
    """RecipeError where the first line is a row, most likely: it holds a label, and a text."""
    labels = [name for name, column in columns.items() if name.strip() in column.counts]
    texts = [name for name, column in columns.items() if column.is_text and len(name.split()) > 3]
    if labels and texts:
        roles = dict.fromkeys(texts, "text") | dict.fromkeys(labels, "label")
        names = ",".join(roles.get(name, f"c{n}") for n, name in enumerate(columns, 1))
        raise RecipeError(
            f"{path}:1: seems to be a row, for it holds the label {labels[0]!r} and a text. The "
            f"first line names the columns: add one, such as {names}, with the separator of the "
            "file."
        )


# --- which belong together -----------------------------------------------------------------------


def split_of(path: Path) -> tuple[str, str | None]:
    """What a file's name says besides, and of which split it is."""
    parts = _PARTS.split(path.stem)
    splits = [SPLITS[part.lower()] for part in parts if part.lower() in SPLITS]
    if not splits:
        return path.stem, None
    rest = [part for part in parts if part and part.lower() not in SPLITS]
    says = any(re.search("[A-Za-z]{3}", part) for part in rest)  # else it is a shard's number
    return "-".join(rest) if says else "", splits[-1]


def grouped(files: Sequence[Found]) -> list[Group]:
    """Files that differ in train, dev and test in their names only are of one table.

    Raises RecipeError where a table has two files of a split.
    """
    tables: dict[tuple[Path, str], dict[str, Found]] = {}
    for file in files:
        key, split = split_of(file.path)
        own = tables.setdefault((file.path.parent, key), {})
        if (taken := own.get(split or "train")) is not None:
            raise RecipeError(
                f"{file.path}: is the {split or 'train'} file of the same table as {taken.name}, "
                "as their names have it. Rename one, or draft a recipe for each."
            )
        own[split or "train"] = file
    groups = []
    for (folder, key), own in tables.items():
        supposed = "train" not in own
        train = own.pop("train") if not supposed else own.pop(next(iter(own)))
        groups.append(Group(key or folder.name, train, own.get("dev"), own.get("test"), supposed))
    return groups
