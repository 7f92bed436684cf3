"""Tables of every format: nothing is lost and nothing is changed, in little memory."""

import io
import json
import os
import sys
import threading
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.samples import FORMATS, NAMES, NASTY, cells, quick, refusal, saved, write
from trivium.errors import RecipeError
from trivium.text.tables import open_table, write_table
from trivium.types import Row


@pytest.mark.parametrize("ending", FORMATS)
@quick
@given(data=st.data())
def test_texts_come_back_exactly_as_written(
    ending: str, data: st.DataObject, tmp_path: Path
) -> None:
    columns = data.draw(NAMES)
    row = st.lists(NASTY, min_size=len(columns), max_size=len(columns)).map(tuple)
    rows = data.draw(st.lists(row, min_size=ending == "jsonl", max_size=5))
    path = tmp_path / f"t.{ending}"
    write(path, columns, rows)
    table = open_table(path)
    assert table.columns == tuple(columns)
    assert cells(table) == rows
    assert cells(table) == rows, "a table can be iterated again"
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("ending", FORMATS)
def test_values_of_every_kind_read_back_as_their_json_text(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"t.{ending}"
    with write_table(path, ["text", "n", "x", "ok", "none"]) as out:
        out.write({"ok": True, "text": " NA", "x": 2.0, "n": 7, "none": None})
    assert cells(open_table(path)) == [(" NA", "7", "2.0", "true", "")]


def test_an_unknown_ending_lists_the_endings(tmp_path: Path) -> None:
    path = saved(tmp_path, "a\tb\n1\t2\n", "t.dat")
    assert ".csv, .tsv, .txt, .jsonl, .ndjson, .parquet" in refusal(path)
    assert cells(open_table(path, format="tsv")) == [("1", "2")]


def test_standard_input_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = "".join(f"{i}\tx\n" for i in range(500))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"a\tb\n{rows}".encode())))
    table = open_table("-")
    assert (table.path, table.name) == (None, "standard input")
    assert len(cells(table)) == 500
    with pytest.raises(RecipeError, match="standard input: can be read once"):
        list(table)


@pytest.mark.parametrize("text", ['{"text": "a"}\n{"text": "b"}\n', ' [{"text": "a"}]'])
def test_json_on_standard_input_is_sent_to_a_file(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    with pytest.raises(RecipeError, match=r"standard input: is JSON.*ends in \.jsonl"):
        open_table("-")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_named_pipe_is_read_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "t.tsv")
    writer = threading.Thread(target=(tmp_path / "t.tsv").write_text, args=("a\tb\n1\t2\n",))
    writer.start()
    table = open_table(tmp_path / "t.tsv")
    assert cells(table) == [("1", "2")]
    writer.join()


@pytest.mark.parametrize("ending", ["tsv", "jsonl"])
def test_iterating_keeps_little_in_memory(ending: str, tmp_path: Path) -> None:
    line = "word " * 2000
    row = f"{line}\t1\n" if ending == "tsv" else json.dumps({"text": line, "label": 1}) + "\n"
    path = saved(tmp_path, ("text\tlabel\n" if ending == "tsv" else "") + row * 3000, f"t.{ending}")
    assert path.stat().st_size > 30_000_000
    tracemalloc.start()
    try:
        assert sum(isinstance(row, Row) for row in open_table(path)) == 3000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000  # bytes; the sample that detects the separator is the largest part
