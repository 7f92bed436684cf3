"""Tables of any content: every row is a row, a bad row, or the file is refused."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fuzz import JUNK, WORDS, cases, damaged, refusal
from trivium.text.tables import BadRow, open_table
from trivium.types import Row

pytestmark = pytest.mark.fuzz

ENDS = st.sampled_from(["\n", "\n", "\n", "\r\n", "\r", "\n\n", ""])


@st.composite
def marked_lines(draw: st.DrawFn, cells: st.SearchStrategy[str]) -> str:
    """Lines that each hold a number of their own, which is to be found again."""
    delimiter = draw(st.sampled_from([",", "\t", ";", "|"]))
    width = draw(st.integers(1, 3))
    lines = [delimiter.join(["text", "label", "more"][:width])]
    for number in range(draw(st.integers(0, 8))):
        row = [f"#{number}#", *(draw(cells) for _ in range(draw(st.integers(0, 3))))]
        lines.append(delimiter.join(row))
    return "".join(f"{line}{draw(ENDS)}" for line in lines)


def read(path: Path, **options: object) -> list[Row | BadRow] | None:
    """All rows; None where the file is refused as a whole."""
    rows: list[Row | BadRow] = []
    said = refusal(lambda: rows.extend(open_table(path, **options)))  # type: ignore[arg-type]
    return rows if said is None else None


def marks(text: str) -> Iterator[str]:
    return (f"#{number}#" for number in range(9) if f"#{number}#" in text)


def assert_all_told(text: str, rows: list[Row | BadRow]) -> None:
    lines = text.split("\n")
    starts = [row.line for row in rows]
    assert starts == sorted(set(starts))
    told: set[str] = set()
    for row, end in zip(rows, [*starts, len(lines) + 1][1:], strict=True):
        held = [*row.cells.values()] if isinstance(row, Row) else lines[row.line - 1 : end - 1]
        told.update(mark for one in held for mark in marks(one))
    assert told == set(marks("\n".join(lines[1:])))


@cases(0.2)
@given(
    text=marked_lines(WORDS),
    ending=st.sampled_from(["csv", "tsv", "txt"]),
    quoting=st.sampled_from(["standard", "none"]),
)
def test_no_row_of_a_delimited_file_is_dropped_in_silence(
    tmp_path_factory: pytest.TempPathFactory, text: str, ending: str, quoting: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"delimited.{ending}"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    rows = read(path, quoting=quoting)
    if rows is not None:
        assert_all_told(text, rows)


@st.composite
def records(draw: st.DrawFn) -> str:
    """JSON lines, some of which are something else."""
    lines = []
    for number in range(draw(st.integers(1, 6))):
        row = {"text": f"#{number}#", "label": draw(JUNK)} | draw(
            st.just({}) | st.dictionaries(WORDS, JUNK, max_size=1)
        )
        line = json.dumps(row, ensure_ascii=draw(st.booleans()))
        lines.append(draw(st.just(line) | st.just(line) | JUNK.map(json.dumps) | WORDS))
    return "".join(f"{line}\n" for line in lines)


@cases(0.15)
@given(text=records())
def test_no_line_of_json_is_dropped_in_silence(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "lines.jsonl"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    rows = read(path)
    if rows is not None:
        lines = text.split("\n")
        while lines and not lines[-1].strip("\r"):
            lines.pop()
        assert [row.line for row in rows] == list(range(1, len(lines) + 1))


def parquet() -> bytes:
    table = pa.table({
        "text": ["a", "b", None], "label": [0.0, float("nan"), 1.5], "yes": [True, None, False],
        "day": pa.array([1, 2, None], pa.timestamp("ns")), "n": pa.array([1, 2, 3], pa.int8()),
    })  # fmt: skip
    stream = io.BytesIO()
    pq.write_table(table, stream, row_group_size=2)
    return stream.getvalue()


PARQUET = parquet()


@cases(0.1)
@given(content=damaged(PARQUET))
def test_a_damaged_parquet_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.parquet"
    path.write_bytes(content)
    rows = read(path)
    if rows is not None:
        assert [row.line for row in rows] == list(range(1, len(rows) + 1))
