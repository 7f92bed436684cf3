"""Writing tables: whole or not at all, so that `open_table` gives back what went in."""

import codecs
import csv
import json
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from trivium.errors import NotWrittenError, RecipeError, is_of_the_disk, system_said
from trivium.text.delimited import all_quoted
from trivium.text.jsonl import Number, Value, text_of
from trivium.text.lines import Format, check_columns, format_to_write
from trivium.text.parquet import parquet_rows

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

_Put = Callable[[Sequence[Value]], None]
"""Writes the values of one row; ValueError for one that the format cannot hold."""


@contextmanager
def write_table(
    path: str | Path, columns: Sequence[str], types: Mapping[str, Any] | None = None
) -> "Iterator[TableWriter]":
    """Write a table in the format of the path's ending; "-" is standard output, tab-separated.

    The file appears, or is replaced, when the block ends well; after an error all is as before.
    Numbers stay numbers in JSON lines and Parquet. types: of columns in Parquet, as `column_types`
    gives them; those of other columns follow from their first values. Raises RecipeError.
    """
    if str(path) == "-":
        with _to_stdout() as stream, _writer(stream, "tsv", columns, "standard output") as writer:
            yield writer
        return
    kind = format_to_write(Path(path))
    with replacing(path) as stream, _writer(stream, kind, columns, str(path), types) as writer:
        yield writer


@contextmanager
def write_lines(path: str | Path) -> Iterator[Callable[[str], None]]:
    """Write lines of text, as `write_table` writes rows: whole or not at all, "-" to the output."""
    if str(path) == "-":
        with _to_stdout() as stream:
            yield lambda line: _put_line(stream, line)
        return
    with replacing(path) as stream:
        yield lambda line: _put_line(stream, line)


def _put_line(stream: BinaryIO, line: str) -> None:
    stream.write(f"{line}\n".encode())


class TableWriter:
    """What `write_table` gives: one call of `write` per row."""

    def __init__(self, put: _Put, columns: tuple[str, ...], name: str, has_header: bool) -> None:
        self._put, self._columns, self._name, self._row = put, columns, name, 0
        if has_header:
            self._guarded(self._columns)

    def write(self, row: Mapping[str, Value] | Sequence[Value]) -> None:
        """Write one row: values in the order of the columns, or by name. None is a missing cell.

        Raises RecipeError for other columns, and for values that the format cannot hold.
        """
        self._row += 1
        found = list(row) if isinstance(row, Mapping) else len(row)
        if isinstance(row, Mapping) and row.keys() == set(self._columns):
            row = [row[column] for column in self._columns]
        if isinstance(row, Mapping) or len(row) != len(self._columns):
            raise RecipeError(
                f"{self._name}: row {self._row} has {found} where the columns are "
                f"{list(self._columns)}. Write a value for each of them."
            )
        self._guarded(row)

    def _guarded(self, values: Sequence[Value]) -> None:
        try:
            self._put(values)
        except RecipeError:
            raise
        except ValueError as error:  # half a surrogate pair, NUL, or a number such as NaN
            raise RecipeError(
                f"{self._name}: row {self._row} cannot be written ({error}). Fix the value."
            ) from None


@contextmanager
def _to_stdout() -> Iterator[BinaryIO]:
    if sys.stdout is None:
        raise RecipeError("standard output is closed; name a file for the answers (--out).")
    with _refusals_told("standard output", "The answers above it, if any, are not all."):
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()


@contextmanager
def _refusals_told(name: object, left: str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # nobody reads any more, as after `head`
        raise
    except OSError as error:
        raise NotWrittenError(f"{name}: {system_said(error)}. {left}", error) from error


@contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of the old one when the block ends well."""
    target = Path(os.path.realpath(path))  # a link stays a link
    if target.exists() and not target.is_file():
        raise RecipeError(f"{path}: is not a regular file, so it cannot be replaced.")
    left = "What was there is as it was" if target.exists() else "Nothing was kept"
    left += ". Once there is room, type the same command again."
    # Called as `run.folder.atomic` calls what it writes: who is alone there next removes what a
    # process that was killed left.
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.new")
    try:
        stream = part.open("xb")
    except OSError as error:
        if is_of_the_disk(error):
            with _refusals_told(path, left):
                raise
        raise RecipeError(
            f"{path}: cannot be written ({error.strerror}). Check its folder."
        ) from None
    try:
        with _refusals_told(path, left):
            with stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def _writer(
    stream: BinaryIO,
    kind: Format,
    columns: Sequence[str],
    name: str,
    types: Mapping[str, Any] | None = None,
) -> Iterator[TableWriter]:
    check_columns(columns, name)
    if not columns:
        raise RecipeError(f"{name}: cannot be written without a column.")
    columns = tuple(columns)  # the caller's list may change
    rows: AbstractContextManager[_Put]
    if kind == "parquet":
        rows = parquet_rows(stream, columns, name, types or {})
    elif kind == "jsonl":
        rows = nullcontext(_json_rows(stream, columns))
    else:
        rows = nullcontext(_delimited_rows(stream, "," if kind == "csv" else "\t"))
    with rows as put:
        yield TableWriter(put, columns, name, has_header=kind in ("csv", "tsv"))


def _json_rows(stream: BinaryIO, columns: tuple[str, ...]) -> _Put:
    def put(values: Sequence[Value]) -> None:
        pairs = zip(names, map(_json, values), strict=True)
        stream.write(f"{{{', '.join(map(': '.join, pairs))}}}\n".encode())

    names = [_json(column) for column in columns]
    return put


def _json(value: Value) -> str:
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, (str, int, float, list)) or value is None:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    return json.dumps(text_of(value), ensure_ascii=False)  # dates and decimals, which JSON has not


def _delimited_rows(stream: BinaryIO, delimiter: str) -> _Put:
    put_cells = delimited_rows(codecs.getwriter("utf-8")(stream), delimiter)

    def put(values: Sequence[Value]) -> None:
        cells = [text_of(value) for value in values]
        if "\0" in "".join(cells):
            raise ValueError("a NUL byte")
        put_cells(cells)

    return put


def delimited_rows(out: "SupportsWrite[str]", delimiter: str) -> Callable[[list[str]], None]:
    """What writes the cells of a row so that `open_table` reads them as they are; without NUL,
    which it refuses."""
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")

    def put(cells: list[str]) -> None:
        text = "".join(cells)
        # Rows of several lines, or of one cell, could be taken for others if not quoted whole; and
        # a mark at the very start would be read as a byte order mark.
        if len(cells) == 1 or "\n" in text or "\r" in text or cells[0].startswith("\ufeff"):
            out.write(f"{all_quoted(cells, delimiter)}\n")
        else:
            writer.writerow(cells)

    return put
