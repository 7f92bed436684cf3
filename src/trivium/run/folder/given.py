"""Tables that Python held, in the folder of the run that is trained on them.

So a run is whole: it is resumed, evaluated and told of as one that was trained on files. A table's
file is called after what is in it, so that another table makes another recipe.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from trivium.errors import RecipeError, did_you_mean
from trivium.recipe import Recipe
from trivium.recipe.given import AnyRecipe, Given
from trivium.recipe.tables import in_folder, task_columns, with_files
from trivium.run.folder.atomic import write_bytes
from trivium.run.folder.names import GIVEN, RECIPE
from trivium.text.frames import TableLike, columns_of, index_of, is_frame, is_missing
from trivium.text.jsonl import text_of

Tables = Mapping[str, TableLike | Mapping[str, TableLike]]
"""By task a table of training rows, or one for each split."""

SPLITS = {"train": "train", "dev": "dev", "validation": "dev", "test": "test"}
"""What a table's split may be called -> what a recipe calls it."""

_OURS = re.compile(r".+-(train|dev|test)-[0-9a-f]{12}\.jsonl")


@dataclass(frozen=True, slots=True)
class Written:
    """A table as a file has it."""

    called: str
    """By messages."""
    path: Path
    content: bytes
    has_split: bool
    """Else it was given as the task's only table."""


@dataclass(frozen=True, slots=True)
class Held:
    """A recipe, and the tables that it is trained on beside files."""

    recipe: AnyRecipe | Given
    """With the tables' files in it."""
    folder: Path
    """Where they are to be."""
    tables: tuple[Written, ...] = ()

    def placed(self, recipe: Recipe) -> Recipe:
        """The loaded recipe, whose data is what the run's folder holds."""
        return in_folder(recipe, self.folder) if self.tables else recipe

    @contextmanager
    def told(self) -> Iterator[None]:
        """What is wrong with a row in a file is told of the table that it is."""
        try:
            yield
        except RecipeError as error:
            if not self.tables:
                raise
            raise RecipeError(of_tables(str(error), self.tables)) from error

    @contextmanager
    def kept(self, run_dir: Path, *, writes: bool) -> Iterator[None]:
        """Write the files into the run's folder; they go again where no run has begun by the end of
        the block. writes: whether this process is the one that does."""
        new = [table for table in self.tables if writes and not table.path.exists()]
        was_there = run_dir.is_dir()
        try:
            for table in new:
                self.folder.mkdir(parents=True, exist_ok=True)
                write_bytes(table.path, table.content)
            yield
        finally:
            recipe = run_dir / RECIPE
            text = recipe.read_text("utf-8") if new and recipe.is_file() else ""
            for table in new:
                if table.path.name not in text:
                    table.path.unlink(missing_ok=True)
            with suppress(OSError):  # it holds something, or was never made
                self.folder.rmdir()
                if not was_there:
                    run_dir.rmdir()


def hold(recipe: AnyRecipe | Given, tables: Tables | None, run_dir: Path) -> Held:
    """A recipe and its tables, by task, read and not yet written. Raises RecipeError, which names
    the table and the row of a text that is none."""
    folder = run_dir.resolve() / GIVEN
    if not by_task(tables):
        return Held(recipe, folder)
    assert tables is not None
    held = as_files(tables, task_columns(recipe, tables), folder)
    files = {task: {split: one.path for split, one in each.items()} for task, each in held.items()}
    written = tuple(one for each in held.values() for one in each.values())
    return Held(with_files(recipe, files), folder, written)


def by_task(tables: Tables | None) -> bool:
    """Whether any task is given a table. Raises RecipeError for what is no dictionary."""
    if tables is None or isinstance(tables, Mapping):
        return bool(tables)
    raise RecipeError(
        "tables: is a dictionary that has a table by the name of its task, such as "
        f"{{'topic': rows}}; found {type(tables).__name__}."
    )


def as_files(
    tables: Tables, reads: Mapping[str, Sequence[str]], folder: Path
) -> dict[str, dict[str, Written]]:
    """By task and split, what is to be written of a table. reads: by task its columns of texts.

    Raises RecipeError.
    """
    found: dict[str, dict[str, Written]] = {}
    for task, given in tables.items():
        found[task] = {}
        for split, (called, table) in _splits(task, given).items():
            content = _lines(called, table, reads[task])
            path = folder / f"{task}-{split}-{sha256(content).hexdigest()[:12]}.jsonl"
            found[task][split] = Written(called, path, content, has_split=called != _called(task))
    return found


def remove_given(run_dir: Path, recipe: str) -> None:
    """Remove the tables of an earlier run, except those whose files this recipe's text names."""
    folder = run_dir / GIVEN
    for path in folder.iterdir() if folder.is_dir() else ():
        if _OURS.fullmatch(path.name) and path.name not in recipe:
            path.unlink()
    with suppress(OSError):  # it holds something
        folder.rmdir()


def _splits(task: str, given: Any) -> dict[str, tuple[str, TableLike]]:
    """By split what messages call its table, and the table."""
    called = _called(task)
    is_split = isinstance(given, Mapping) and all(_is_table(table) for table in given.values())
    if not is_split:
        return {"train": (called, given)}
    found: dict[str, tuple[str, TableLike]] = {}
    for name, table in given.items():
        if name not in SPLITS:
            hint = did_you_mean(name, SPLITS)
            raise RecipeError(f"{called}: no split is called {name!r}{hint}.")
        if SPLITS[name] in found:
            raise RecipeError(f"{called}: has both 'dev' and 'validation', which are the same.")
        found[SPLITS[name]] = (f"{called}[{name!r}]", table)
    if not found:
        raise RecipeError(f"{called}: holds no table.")
    return found


def _called(task: str) -> str:
    return f"tables[{task!r}]"


def _is_table(value: object) -> bool:
    """Whether it is a table in itself: then what holds it by name is no table's columns."""
    if isinstance(value, Mapping) or is_frame(value):
        return True
    return isinstance(value, (list, tuple)) and bool(value) and isinstance(value[0], Mapping)


def _lines(called: str, table: TableLike, reads: Sequence[str]) -> bytes:
    """A table as JSON lines: the columns that hold what a cell can hold. Raises RecipeError."""
    columns = columns_of(table, called)
    for column in reads:
        if column not in columns:
            raise RecipeError(f"{called}: no column {column!r}{did_you_mean(column, columns)}.")
        for number, value in enumerate(columns[column]):
            if is_missing(value) or not isinstance(value, (str, int, float)):
                raise RecipeError(_no_text(called, table, column, number, value))
    kept = {c: v for c, v in columns.items() if c in reads or all(map(_fits_a_cell, v))}
    rows = zip(*([_cell(value) for value in values] for values in kept.values()), strict=True)
    if not (lines := [json.dumps(dict(zip(kept, row, strict=True))) for row in rows]):
        raise RecipeError(f"{called}: has no rows.")
    return "".join(f"{line}\n" for line in lines).encode()


def _no_text(called: str, table: TableLike, column: str, number: int, value: object) -> str:
    index = index_of(table)
    row = f"row {number}" + (f" (index {index[number]!r})" if index is not None else "")
    found = "is empty" if is_missing(value) else f"holds a {type(value).__name__}"
    return f"{called}: {row}: column {column!r} {found}. Fill it in, or leave the row out."


def _fits_a_cell(value: object) -> bool:
    return not isinstance(value, (bytes, bytearray, Mapping, list, tuple, set)) and not hasattr(
        value, "shape"
    )


def _cell(value: Any) -> Any:
    """As JSON has it; a date or a decimal as it is printed."""
    if is_missing(value):
        return None
    is_plain = isinstance(value, (str, int)) or (
        isinstance(value, float) and value not in (float("inf"), float("-inf"))
    )
    return value if is_plain else text_of(value)


def of_tables(message: str, tables: Sequence[Written]) -> str:
    """A message in which a file's line is a table's row, counted from 0."""
    for table in tables:
        line = re.compile(re.escape(str(table.path)) + r"(?::(\d+))?")
        called = table.called

        def row(found: re.Match[str], called: str = called) -> str:
            return f"{called}: row {int(found[1]) - 1}" if found[1] else called

        message = line.sub(row, message)
    return message
