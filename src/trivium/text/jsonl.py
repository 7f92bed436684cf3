"""JSON lines: one flat object per line; the keys of the first one name the columns."""

import json
import re
from collections.abc import Iterator
from typing import Any

from trivium.errors import RecipeError
from trivium.text.lines import BLANK, BadRow, Opened, Source, without_last_blanks
from trivium.text.parts import Part
from trivium.types import Row

Value = str | int | float | bool | list[float] | None
"""What a cell can be written from; None is a missing cell, and a list a vector, which only formats
with types hold."""


class Number(str):
    """A number as it is spelt in a file: 0.10 is written as 0.10 again, not as 0.1."""

    __slots__ = ()

    @property
    def value(self) -> int | float:
        """Raises ValueError for a whole number of thousands of digits."""
        return int(self) if self.removeprefix("-").isdecimal() else float(self)


def open_jsonl(source: Source) -> Opened:
    """As `open_delimited`, of a file with a JSON object in each line, whose first one names the
    columns.
    """
    first = source.head()[0]
    try:
        columns = tuple(_record(first))
    except ValueError as error:
        raise RecipeError(f"{source.name}:1: {error}") from None
    if not columns:
        raise RecipeError(f"{source.name}:1: is an empty object; its keys must name the columns.")

    def rows(part: Part | None = None) -> Iterator[Row | BadRow]:
        if part is not None:
            lines = enumerate(source.within(part), part.line)
            return (_row(text, line, columns) for line, text in lines)
        lines = enumerate(source.again(), 1)
        return without_last_blanks(_row(text, line, columns) for line, text in lines)

    return columns, f"JSON lines, {source.shown_encoding}", rows


def text_of(value: Any) -> str:
    """The text of a cell: strings as they are, None as "", numbers and truth values as in JSON.

    Dates and decimals, which Parquet has, as Python prints them.
    """
    if isinstance(value, str):
        return str(value)
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, (bool, int, float)) else str(value)


def _row(text: str, line: int, columns: tuple[str, ...]) -> Row | BadRow:
    if not text.strip("\r\n"):
        return BadRow(line, BLANK)
    try:
        record = _record(text)
    except ValueError as error:
        return BadRow(line, str(error))
    return row_of(record, line, columns)


def row_of(record: dict[str, Value], line: int, columns: tuple[str, ...]) -> Row | BadRow:
    """A flat object as a row of these columns."""
    if record.keys() == set(columns):
        values = {column: record[column] for column in columns}
        return Row({column: text_of(value) for column, value in values.items()}, line, values)
    missing = [column for column in columns if column not in record]
    what = (
        f"lacks {missing}" if missing else f"has other keys too, {sorted({*record} - {*columns})}"
    )
    return BadRow(
        line, f"{what}; the first line has {list(columns)}. Give every line the same keys."
    )


def _record(text: str) -> dict[str, Value]:
    """The values of one flat object; ValueError with the problem and the remedy."""
    try:
        record = DECODER.decode(text)
    except json.JSONDecodeError as error:
        found = f"{error.msg}, at column {error.colno}"
        raise ValueError(f"is not JSON: {found}. Write one object per line.") from None
    except RecursionError:
        raise ValueError("is nested too deep. Write one flat object per line.") from None
    return flat(record, text)


def flat(record: Any, text: str | None = None) -> dict[str, Value]:
    """A value that JSON gave, if it is a flat object; else ValueError. text: what it stood in."""
    if not isinstance(record, dict):
        raise ValueError('is not an object. Write one per line: {"text": ..., "label": ...}.')
    for key, value in record.items():
        if isinstance(value, (dict, list)):
            kind = "an object" if isinstance(value, dict) else "a list"
            raise ValueError(f"key {key!r} holds {kind}. Make it text, a number, true or null.")
    words = [*record, *map(text_of, record.values())] if text is None or "\\u" in text else ()
    if re.search("[\ud800-\udfff]", "".join(words)):
        raise ValueError("holds half a surrogate pair (\\ud800 to \\udfff). Remove it.")
    return record


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"has the key {twice!r} twice. Keep one.")
    return record


def _no_constant(text: str) -> None:
    raise ValueError(f"holds {text}, which is not JSON. Write null for a missing number.")


# Numbers stay the text that the file has: 1.0 is not 1, and 0.10 is not 0.1.
DECODER = json.JSONDecoder(
    object_pairs_hook=_once, parse_float=Number, parse_int=Number, parse_constant=_no_constant
)
