"""Parquet: cells as JSON lines would give them, row groups of one type."""

import os
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.samples import cells, refusal, saved, write
from trivium.errors import RecipeError
from trivium.text.tables import open_table, write_table


def test_parquet_cells_become_text_and_line_is_the_row_number(tmp_path: Path) -> None:
    narrow = pa.array([0.8, None], pa.float32())
    kinds = pa.array(["x", "x"]).dictionary_encode()
    table = pa.table({"f": narrow, "b": [True, None], "k": kinds, "n": [None, 3]})
    pq.write_table(table, tmp_path / "t.parquet")
    read = open_table(tmp_path / "t.parquet")
    assert cells(read) == [("0.8", "true", "x", ""), ("", "", "x", "3")]
    assert [row.line for row in read] == [1, 2]


def test_a_parquet_column_of_lists_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [[1]]}), tmp_path / "t.parquet")
    assert "column 'a' holds list" in refusal(tmp_path / "t.parquet")


def test_a_broken_parquet_file_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, "a\tb\n", "t.parquet")
    assert refusal(path).startswith(f"{path}: is not a readable Parquet file")


def test_a_column_whose_name_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    schema = pa.schema({"text": pa.string()})
    with pq.ParquetWriter(path, schema, store_schema=False) as writer:
        writer.write_table(pa.table({"text": ["a"]}, schema=schema))
    path.write_bytes(path.read_bytes().replace(b"text", b"te\xa1t"))
    with pytest.raises(
        RecipeError, match=r"rows\.parquet: is not a readable Parquet file \(.*utf-8"
    ):
        open_table(path)


def test_parquet_without_its_extra_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path, "x", "t.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "pip install 'trivium[parquet]'" in refusal(path)
    with pytest.raises(RecipeError, match="pip install"), write_table(path, ["a"]):
        pass
    assert path.read_text() == "x"


def test_parquet_is_written_in_row_groups_of_one_type(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write(path, ["n"], ([number] for number in range(25_000)))
    assert pq.ParquetFile(path).num_row_groups == 3
    assert [row.line for row in open_table(path)] == list(range(1, 25_001))
    with pytest.raises(RecipeError, match="column 'n' cannot be written"):
        write(path, ["n"], [[value] for value in [*range(10_000), *["text"] * 10_000]])
    assert pq.ParquetFile(path).metadata.num_rows == 25_000
    assert os.listdir(tmp_path) == ["t.parquet"]
