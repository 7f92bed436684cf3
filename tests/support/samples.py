"""Nasty texts, and short ways to write a table and to read it back."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from trivium.errors import RecipeError
from trivium.text.tables import BadRow, Table, open_table, write_table
from trivium.types import Row

FORMATS = ["csv", "tsv", "jsonl", "parquet"]


# Few letters, so that quotes, separators and line ends meet often.
NASTY = st.text(st.sampled_from("a \"\t\n\r,;|'\\é\u2028\ufeff0"), max_size=8) | st.sampled_from(
    ["NA", "null", "None", "nan", "", " x", "x ", '"', '""', "\r\n", "1.0", "-", "{}", "\x0b\x85"]
)


NAMES = st.lists(st.text("ab ;,|\t\"'1\ufeff", max_size=4), min_size=1, max_size=4, unique=True)


quick = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))


def saved(folder: Path, content: str | bytes, name: str = "t.tsv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def cells(table: Table) -> list[tuple[str, ...]]:
    rows = []
    for row in table:
        assert isinstance(row, Row), row
        rows.append(tuple(row.cells[column] for column in table.columns))
    return rows


def write(path: str | Path, columns: Sequence[str], rows: Iterable[Any]) -> None:
    with write_table(path, columns) as out:
        for row in rows:
            out.write(row)


def refusal(path: str | Path, **options: Any) -> str:
    with pytest.raises(RecipeError) as caught:
        list(open_table(path, **options))
    return str(caught.value)


def bad_rows(table: Table) -> list[tuple[int, str]]:
    return [(row.line, row.problem) for row in table if isinstance(row, BadRow)]
