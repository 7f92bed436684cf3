"""A table's own columns on their way into another table: typed where both formats have types."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trivium.text.jsonl import Number, Value, text_of
from trivium.text.lines import BadRow, format_to_write
from trivium.text.parquet import column_types, plain_type
from trivium.text.tables import Table
from trivium.types import Row


@dataclass(frozen=True, slots=True)
class Copying:
    """How rows of one table are written into another."""

    types: Mapping[str, Any]
    """Of columns in Parquet, for `write_table`."""
    values: Callable[[Row], list[Value]]
    """What is written of a row, in the order of its columns."""


def copying(
    table: Table, target: str | Path, added: Mapping[str, float | str] | None = None
) -> Copying:
    """From a table to a file, in the format of its ending ("-": text). Raises RecipeError.

    added: of each column that is to stand beside the table's own a value such as it will hold,
    which says its type also where there is no row.
    """
    kind = "tsv" if str(target) == "-" else format_to_write(Path(target))
    if kind == "parquet":
        copied = _to_parquet(table)
        known = {column: _type_of(value) for column, value in (added or {}).items()}
        return replace(copied, types={**copied.types, **known})
    return Copying({}, _as_json if kind == "jsonl" else _as_text)


def _type_of(value: float | str) -> Any:
    return plain_type("float" if isinstance(value, float) else "text")


def _as_text(row: Row) -> list[Value]:
    return list(row.cells.values())


def _as_json(row: Row) -> list[Value]:
    """JSON has no number that is missing or infinite: null, and the word for it."""
    return [_in_json(value) for value in _typed(row)]


def _in_json(value: Any) -> Value:
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else text_of(value)
    kept: Value = value
    return kept


def _typed(row: Row) -> list[Any]:
    return list((row.cells if row.values is None else row.values).values())


def _to_parquet(table: Table) -> Copying:
    if table.format == "parquet":
        assert table.path is not None, "Parquet is never read from a pipe"
        return Copying(column_types(table.path), _typed)
    if table.format not in ("jsonl", "json") or not table.is_file:
        return Copying({}, _typed)
    # JSON lines may mix what a column of Parquet cannot: such a column is text there, as before.
    found = _kinds(table)
    texts = {column for column, kinds in found.items() if _common(kinds) == "text"}
    types = {column: plain_type(_common(kinds)) for column, kinds in found.items()}
    return Copying(types, lambda row: _partly_text(row, texts))


def _partly_text(row: Row, texts: set[str]) -> list[Value]:
    values: Mapping[str, Any] = row.values or {}
    return [
        row.cells[column] if column in texts and value is not None else value
        for column, value in values.items()
    ]


def _kinds(rows: Iterable[Row | BadRow]) -> dict[str, set[str]]:
    """What each column holds besides missing cells; a bad row is nobody's business yet."""
    found: dict[str, set[str]] = {}
    for row in rows:
        values = row.values if isinstance(row, Row) and row.values is not None else {}
        for column, value in values.items():
            found.setdefault(column, set()).update(() if value is None else (_kind(value),))
    return found


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "bool"
    if not isinstance(value, Number):
        return "text"
    try:
        number = value.value
    except ValueError:
        return "text"
    if isinstance(number, int):
        return "int" if -(2**63) <= number < 2**63 else "text"
    return "float" if math.isfinite(number) else "text"


def _common(kinds: set[str]) -> str:
    if kinds == {"int", "float"}:
        return "float"
    return next(iter(kinds)) if len(kinds) == 1 else "text"
