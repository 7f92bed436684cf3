"""Writing: whole or not at all, and what cannot be written is refused."""

import io
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.support.samples import FORMATS, saved, write
from trivium.errors import RecipeError
from trivium.text.tables import write_table


def test_numbers_stay_numbers_in_json_lines_and_parquet(tmp_path: Path) -> None:
    for ending in ("jsonl", "parquet"):
        with write_table(tmp_path / f"t.{ending}", ["n", "x", "none"]) as out:
            out.write([7, 0.5, None])
    assert (tmp_path / "t.jsonl").read_text() == '{"n": 7, "x": 0.5, "none": null}\n'
    assert pq.read_table(tmp_path / "t.parquet").to_pylist() == [{"n": 7, "x": 0.5, "none": None}]


@pytest.mark.parametrize("ending", FORMATS)
def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(
    ending: str, tmp_path: Path
) -> None:
    path = saved(tmp_path, "old", f"t.{ending}")

    def interrupted() -> Iterator[list[str]]:
        yield ["x", "y"]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(path, ["a", "b"], interrupted())
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == [path.name]


def test_a_link_is_written_through(tmp_path: Path) -> None:
    target = saved(tmp_path, "old", "real.tsv")
    (tmp_path / "link.tsv").symlink_to(target)
    with write_table(tmp_path / "link.tsv", ["a", "b"]) as out:
        out.write([1, "x"])
    assert target.read_text() == "a\tb\n1\tx\n"


@pytest.mark.parametrize(
    ("ending", "row", "found"),
    [
        ("tsv", ["x"], r"row 1 has 1 where the columns are \['a', 'b'\]"),
        ("tsv", {"a": 1, "c": 2}, r"row 1 has \['a', 'c'\] where"),
        ("tsv", ["x\0", "y"], "row 1 cannot be written .a NUL byte"),
        ("csv", ["\ud800", "y"], "row 1 cannot be written .*surrogates"),
        ("jsonl", ["\ud800", "y"], "row 1 cannot be written .*surrogates"),
        ("jsonl", [float("nan"), "y"], "row 1 cannot be written"),
    ],
)
def test_a_row_that_cannot_be_written_is_refused(
    ending: str, row: Sequence[Any], found: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=found):
        write(tmp_path / f"t.{ending}", ["a", "b"], [row])
    assert os.listdir(tmp_path) == []


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.tsv").mkdir()
    for path, found in [("none/t.tsv", "Check its folder"), ("folder.tsv", "not a regular file")]:
        with pytest.raises(RecipeError, match=found), write_table(tmp_path / path, ["a"]):
            pass


def test_standard_output_is_tab_separated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(stream := io.BytesIO()))
    with write_table("-", ["a", "b"]) as out:
        out.write(["x", 1.5])
    assert stream.getvalue() == b"a\tb\nx\t1.5\n"
