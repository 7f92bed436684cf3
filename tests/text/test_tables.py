"""Tables: nothing is lost, nothing is changed, and every refusal says where and what to do."""

import csv
import gzip
import io
import json
import os
import re
import sys
import threading
import tracemalloc
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from trivium.errors import RecipeError
from trivium.text.tables import BadRow, Table, open_table, write_table
from trivium.types import Row

DATA = Path(__file__).parents[3] / "shared" / "data"
FORMATS = ["csv", "tsv", "jsonl", "parquet"]

# Few letters, so that quotes, separators and line ends meet often.
NASTY = st.text(st.sampled_from("a \"\t\n\r,;|'\\é\u2028\ufeff0"), max_size=8) | st.sampled_from(
    ["NA", "null", "None", "nan", "", " x", "x ", '"', '""', "\r\n", "1.0", "-", "{}", "\x0b\x85"]
)
NAMES = st.lists(st.text("ab ;,|\t\"'1\ufeff", max_size=4), min_size=1, max_size=4, unique=True)
quick = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))


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


# ---- round trips --------------------------------------------------------------------------------


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


def test_numbers_stay_numbers_in_json_lines_and_parquet(tmp_path: Path) -> None:
    for ending in ("jsonl", "parquet"):
        with write_table(tmp_path / f"t.{ending}", ["n", "x", "none"]) as out:
            out.write([7, 0.5, None])
    assert (tmp_path / "t.jsonl").read_text() == '{"n": 7, "x": 0.5, "none": null}\n'
    assert pq.read_table(tmp_path / "t.parquet").to_pylist() == [{"n": 7, "x": 0.5, "none": None}]


@quick
@given(
    rows=st.lists(st.lists(NASTY, min_size=3, max_size=3), max_size=6),
    delimiter=st.sampled_from("\t,;|"),
    end=st.sampled_from(["\n", "\r\n"]),
    bom=st.booleans(),
)
def test_well_formed_files_read_as_the_csv_module_reads_them(
    rows: list[list[str]], delimiter: str, end: str, bom: bool, tmp_path: Path
) -> None:
    assume(not any("\r" in cell for row in rows for cell in row))
    buffer = io.StringIO()
    out = csv.writer(buffer, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
    out.writerows([["id", "text", "label"], *rows])
    path = saved(tmp_path, "\ufeff" * bom + buffer.getvalue())
    reference = csv.DictReader(io.StringIO(buffer.getvalue(), newline=""), delimiter=delimiter)
    table = open_table(path)
    assert [row.cells for row in table if isinstance(row, Row)] == list(reference)


# ---- quotes never swallow rows ------------------------------------------------------------------

# Cells as people type them: a quote may open a cell or close it, without a partner in the cell.
# A row whose other cells all are quoted counts as sure, hence none here that is quoted whole; and
# commas before a space count as prose, hence none that starts with a space.
TYPED = (
    st.from_regex(r'\A"?[ab5][ab" ]{0,2}\Z|\A[ab5][ab ]{0,2}"\Z|\A[ab]\Z')
    .map(str.strip)
    .filter(lambda text: not (text[0] == text[-1] == '"'))
)


@pytest.mark.parametrize("columns", [1, 2, 3])
@pytest.mark.parametrize("delimiter", ["\t", "|", ","])
@quick
@given(data=st.data())
def test_every_line_of_a_file_without_line_ends_in_cells_is_a_row_a_bad_row_or_an_error(
    columns: int, delimiter: str, data: st.DataObject, tmp_path: Path
) -> None:
    row = st.lists(TYPED, min_size=1, max_size=columns + 1)
    rows = data.draw(st.lists(row, max_size=6))
    lines = [delimiter.join(r) for r in [[f"c{i}" for i in range(columns)], *rows]]
    path = saved(tmp_path, "\n".join(lines) + "\n")
    try:
        read = list(open_table(path, delimiter=delimiter))
    except RecipeError:
        message = refusal(path, delimiter=delimiter)
        assert re.search(r"t\.tsv:\d+: the quoted cell that opens here", message)
    else:
        assert all(len(row.cells) == columns for row in read if isinstance(row, Row))
        long = [r for r in read if isinstance(r, Row) and "\n" in "".join(r.cells.values())]
        swallowed = sum("".join(glued.cells.values()).count("\n") for glued in long)
        # What is left cannot be told apart: texts without a separator, which means that rows were
        # broken too, and lines that are, to the byte, one row with every cell quoted.
        for glued in long:
            quoted = delimiter.join(f'"{text}"' for text in glued.cells.values())
            assert quoted in "\n".join(lines) or any(len(r) != columns for r in rows)
        assert len(read) + swallowed == len(lines) - 1
    plain = list(open_table(path, delimiter=delimiter, quoting="none"))
    assert len(plain) == len(lines) - 1


@pytest.mark.parametrize("delimiter", ["\t", ",", ";", "|"])
def test_two_lone_quotes_in_one_column_are_refused(delimiter: str, tmp_path: Path) -> None:
    text = 'id,text,label\n1,fine,0\n2,"opens,1\n3,lost,0\n4,closes",1\n5,fine,0\n'
    path = saved(tmp_path, text.replace(",", delimiter))
    message = refusal(path)
    assert message.startswith(f"{path}:3: the quoted cell that opens here closes on line 5")
    assert "quoting: none" in message
    assert "csv.QUOTE_ALL" in message
    assert len(list(open_table(path, quoting="none"))) == 5


def test_two_lone_quotes_in_a_file_of_one_column_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, 'text\nfine\n"opens\nlost\ncloses"\n', "t.txt")
    assert f"{path}:3: " in refusal(path)
    assert len(list(open_table(path, quoting="none"))) == 4
    quoted = saved(tmp_path, '"text"\n"fine"\n"two\nlines"\n', "q.txt")
    assert cells(open_table(quoted)) == [("fine",), ("two\nlines",)]


@pytest.mark.parametrize(
    "review",
    ["one\ntwo", "Great food, fine wine\nand bad service", "Dear Sir,\nthank you", "a\n\nb, c\n"],
)
def test_prose_over_several_lines_is_one_cell(review: str, tmp_path: Path) -> None:
    path = saved(tmp_path, f'text,label\n"{review}",1\nnext,0\n', "t.csv")
    assert cells(open_table(path)) == [(review, "1"), ("next", "0")]
    assert [row.line for row in open_table(path)] == [2, 3 + review.count("\n")]


def test_a_record_over_several_lines_with_a_cell_too_few_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, 'a\tb\n1\t2\n"x\t1\ny"\n')
    message = refusal(path)
    assert f"{path}:3: " in message
    assert "gives 1 cells where the header has 2" in message


@pytest.mark.parametrize(
    ("body", "line", "what"),
    [
        ('1\t2\n"x\t1\ny\t0\n', 3, "is never closed"),
        ('1\t2\n1\t"Hello," he said\n', 3, "is closed on line 3 by a quote with more text"),
        ('"x\ny"\t"z\nw\n', 3, "is never closed"),
        ('"x\n\ny" z\t2\n', 2, "is closed on line 4 by a quote with more text"),
        ('"' + "word " * 2_100_000 + "\n", 2, "runs on for more than 10,000,000 characters"),
    ],
)
def test_an_unbalanced_quote_names_the_line_where_its_cell_opens(
    body: str, line: int, what: str, tmp_path: Path
) -> None:
    path = saved(tmp_path, f"a\tb\n{body}")
    message = refusal(path)
    assert message.startswith(f"{path}:{line}: the quoted cell that opens here {what}")
    assert "Double every quote" in message
    assert "quoting: none" in message


def test_an_unbalanced_quote_in_the_header_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, 'a\t"b\n1\t2\n')
    assert refusal(path).startswith(f"{path}:1: the quoted cell that opens here is never closed")


def test_quotes_inside_a_cell_are_ordinary(tmp_path: Path) -> None:
    path = saved(tmp_path, 'a\tb\n5" pipe\tsay "x"\n')
    assert cells(open_table(path)) == [('5" pipe', 'say "x"')]


def test_quoting_none_keeps_every_quote(tmp_path: Path) -> None:
    path = saved(tmp_path, 'a\tb\n"x"\t"y\n')
    table = open_table(path, quoting="none")
    assert cells(table) == [('"x"', '"y')]
    assert "quotes are ordinary characters" in table.dialect


# ---- rows ---------------------------------------------------------------------------------------


def test_rows_with_too_few_or_too_many_cells_are_bad_rows(tmp_path: Path) -> None:
    table = open_table(saved(tmp_path, "a\tb\n1\n1\t2\n1\t2\t3\n"))
    (few_line, few), (many_line, many) = bad_rows(table)
    assert (few_line, many_line) == (2, 4)
    assert few.startswith("has 1 cell where the header has 2 (tab-separated). Fix the row")
    assert many.startswith("has 3 cells where the header has 2")
    assert "t.tsv" not in few + many


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_blank_lines_count_only_between_rows(end: str, tmp_path: Path) -> None:
    table = open_table(saved(tmp_path, end.join(["a\tb", "1\t2", "", "3\t4", "", "", ""])))
    assert [row.line for row in table] == [2, 3, 4]
    assert bad_rows(table) == [(3, "is blank. Remove the line, or fill it in.")]


def test_a_last_line_without_line_end_is_a_row(tmp_path: Path) -> None:
    assert cells(open_table(saved(tmp_path, "a\tb\n1\t2"))) == [("1", "2")]


def test_a_lone_carriage_return_is_text_in_quotes_and_a_bad_row_outside(tmp_path: Path) -> None:
    table = open_table(saved(tmp_path, 'a\tb\n"x\ry"\t1\nx\ry\t2\nz\t3\n'))
    good = [row.cells["a"] for row in table if isinstance(row, Row)]
    assert good == ["x\ry", "z"]
    ((line, problem),) = bad_rows(table)
    assert line == 3
    assert "carriage return" in problem
    assert "End lines with LF or CRLF" in problem


def test_a_file_with_lines_ended_by_cr_alone_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, "a\tb\r1\t2\r")
    assert re.match(rf"{re.escape(str(path))}:1: .*CR.*LF", refusal(path))


# ---- headers and separators ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("delimiter", "name"), [("\t", "tab"), (",", "comma"), (";", "semicolon"), ("|", "pipe")]
)
@pytest.mark.parametrize("ending", ["csv", "tsv", "txt"])
def test_the_separator_is_detected_whatever_the_ending(
    delimiter: str, name: str, ending: str, tmp_path: Path
) -> None:
    lines = [["id", "text", "label"], ["1", "x y", "0"], ["2", "z", "1"]]
    path = saved(tmp_path, "\n".join(map(delimiter.join, lines)), f"t.{ending}")
    table = open_table(path)
    assert table.dialect == f'{name}-separated, cells quoted with " where needed, UTF-8'
    assert table.columns == ("id", "text", "label")
    assert cells(table)[1] == ("2", "z", "1")


def test_the_rows_confirm_the_separator(tmp_path: Path) -> None:
    path = saved(tmp_path, "id\ttext, or not\n1\tx\n2\ty, z, w\n", "t.csv")
    assert open_table(path).columns == ("id", "text, or not")


def test_a_given_separator_wins(tmp_path: Path) -> None:
    path = saved(tmp_path, "a,b:c\n1,2:3\n")
    assert open_table(path, delimiter=":").columns == ("a,b", "c")
    assert "not one character" in refusal(path, delimiter="tab")


def test_one_column_may_hold_commas(tmp_path: Path) -> None:
    table = open_table(saved(tmp_path, "text\na, b\nc\n", "t.csv"))
    assert cells(table) == [("a, b",), ("c",)]
    assert table.dialect.startswith("one column")


def test_one_column_may_have_no_name(tmp_path: Path) -> None:
    assert open_table(saved(tmp_path, "\tid\n0\tx\n")).columns == ("", "id")
    assert open_table(saved(tmp_path, "0\t\tid\n1\t0.0\tx\n")).columns == ("0", "", "id")


@pytest.mark.parametrize(
    ("header", "what"), [("a\tb\ta", "2 columns are named 'a'"), ("\ta\t", "2 columns are without")]
)
def test_columns_that_share_a_name_are_refused(header: str, what: str, tmp_path: Path) -> None:
    path = saved(tmp_path, f"{header}\n1\t2\t3\n")
    message = refusal(path)
    assert message.startswith(f"{path}:1: {what}")
    assert "a name of its own" in message


def test_a_header_without_rows_is_a_table(tmp_path: Path) -> None:
    assert cells(open_table(saved(tmp_path, "a\tb\n"))) == []


# ---- bad files ----------------------------------------------------------------------------------


def test_a_missing_file_suggests_its_neighbours(tmp_path: Path) -> None:
    saved(tmp_path, "a\n", "train.tsv")
    message = refusal(tmp_path / "trian.tsv")
    assert message == f"{tmp_path / 'trian.tsv'}: no such file. Did you mean 'train.tsv'?"
    assert "no folder" in refusal(tmp_path / "none" / "train.tsv")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert "is a folder" in refusal(tmp_path)


def test_an_unknown_ending_lists_the_endings(tmp_path: Path) -> None:
    path = saved(tmp_path, "a\tb\n1\t2\n", "t.dat")
    assert ".csv, .tsv, .txt, .jsonl, .ndjson, .parquet" in refusal(path)
    assert cells(open_table(path, format="tsv")) == [("1", "2")]


def test_an_unreadable_file_says_to_check_permissions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = saved(tmp_path, "a\n")
    monkeypatch.setattr(Path, "open", refuse)
    assert refusal(path) == (
        f"{path}: cannot be read (Permission denied). Check the permissions of the file."
    )


@pytest.mark.parametrize(
    ("content", "line", "found", "remedy"),
    [
        (b"", None, "is empty", "must name the columns"),
        (b"\xef\xbb\xbf\n1\n", 1, "is blank", "must name the columns"),
        (b"a\tb\n1\t2\n1\tcaf\xe9\n", 3, "byte 6 of the line is 0xe9", "iconv -f latin1 -t utf-8"),
        ("a\tb\n1\t2\n".encode("utf-16"), 1, "is UTF-16", "iconv -f utf-16 -t utf-8"),
        ("a\tb\n1\t2\n".encode("utf-16-le"), 1, "NUL byte", "iconv -f utf-16 -t utf-8"),
        (b"a\tb\n1\t2\0\n", 2, "NUL byte", "remove the byte"),
        (gzip.compress(b"a\tb\n"), 1, "is gzip", "gunzip"),
        (b"PK\x03\x04rest", 1, "a zip archive or an Excel workbook", "save the sheet as CSV UTF-8"),
        (b"PAR1\x15rest", 1, "is Parquet", "end in .parquet"),
        (b"a\n" + b"x" * 2**26, 2, "is longer than 64 MiB", "end with LF"),
    ],
)
@pytest.mark.parametrize("ending", ["tsv", "jsonl"])
def test_a_file_that_is_no_utf8_text_is_named_for_what_it_is(
    content: bytes, line: int | None, found: str, remedy: str, ending: str, tmp_path: Path
) -> None:
    path = saved(tmp_path, content, f"t.{ending}")
    message = refusal(path)
    assert message.startswith(f"{path}:{line}: " if line else f"{path}: ")
    assert found in message
    assert remedy in message


def test_cells_longer_than_the_default_of_the_csv_module_are_read(tmp_path: Path) -> None:
    long = "word " * 100_000
    assert cells(open_table(saved(tmp_path, f"a\tb\n{long}\t1\n"))) == [(long, "1")]


# ---- JSON lines ---------------------------------------------------------------------------------


def test_json_numbers_keep_their_text(tmp_path: Path) -> None:
    path = saved(tmp_path, '{"a": 1.0, "b": 0.10}\n{"b": 1e3, "a": -5}\n', "t.jsonl")
    assert cells(open_table(path)) == [("1.0", "0.10"), ("-5", "1e3")]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('{"a": [1], "b": 2}', "key 'a' holds a list"),
        ('{"a": {"c": 1}, "b": 2}', "key 'a' holds an object"),
        ('{"a": 1}', "lacks ['b']; the first line has ['a', 'b']"),
        ('{"a": 1, "b": 2, "c": 3}', "has other keys too, ['c']"),
        ('{"a": 1, "a": 2, "b": 3}', "has the key 'a' twice"),
        ('{"a": 1, "b": }', "is not JSON: Expecting value, at column 15"),
        ('{"a": NaN, "b": 1}', "holds NaN, which is not JSON"),
        ('{"a": "\\ud800", "b": 1}', "half a surrogate pair"),
        ("[1, 2]", "is not an object"),
        ("[" * 100_000, "is nested too deep"),
        ("", "is blank"),
    ],
)
def test_a_json_line_that_is_no_flat_record_is_a_bad_row(
    line: str, found: str, tmp_path: Path
) -> None:
    good = '{"a": 1, "b": 2}'
    table = open_table(saved(tmp_path, f"{good}\n{line}\n{good}\n\n", "t.jsonl"))
    assert len(list(table)) == 3
    ((number, problem),) = bad_rows(table)
    assert number == 2
    assert found in problem
    assert problem.endswith(".")


@pytest.mark.parametrize("line", ["{}", "nonsense", '{"a": []}', "[]"])
def test_a_first_json_line_that_names_no_columns_is_an_error_of_the_file(
    line: str, tmp_path: Path
) -> None:
    path = saved(tmp_path, f"{line}\n", "t.jsonl")
    assert refusal(path).startswith(f"{path}:1: ")


# ---- Parquet ------------------------------------------------------------------------------------


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


# ---- writing ------------------------------------------------------------------------------------


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


# ---- streams ------------------------------------------------------------------------------------


def test_standard_input_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = "".join(f"{i}\tx\n" for i in range(500))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"a\tb\n{rows}".encode())))
    table = open_table("-")
    assert (table.path, table.name) == (None, "standard input")
    assert len(cells(table)) == 500
    with pytest.raises(RecipeError, match="standard input: can be read once"):
        list(table)


def test_standard_output_is_tab_separated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(stream := io.BytesIO()))
    with write_table("-", ["a", "b"]) as out:
        out.write(["x", 1.5])
    assert stream.getvalue() == b"a\tb\nx\t1.5\n"


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


# ---- real files ---------------------------------------------------------------------------------

KNOWN = {
    "ids-sst-train.csv": 8544,
    "ids-sst-dev.csv": 1101,
    "quora-train.csv": 40528,
    "quora-dev.csv": 10107,
    "sts-train.csv": 6040,
    "sts-dev.csv": 863,
}
REAL = sorted([*DATA.glob("*/*.csv"), *DATA.glob("*/*.tsv")])


@pytest.mark.skipif(not REAL, reason="the real tables are not beside this project (shared/data)")
def test_real_files_read_completely_and_as_the_csv_module_reads_them() -> None:
    assert set(KNOWN) <= {path.name for path in REAL}
    for path in REAL:
        with path.open(encoding="utf-8", newline="") as file:
            reference = list(csv.DictReader(file, delimiter="\t"))
        rows = [row.cells for row in open_table(path) if isinstance(row, Row)]
        assert rows == reference, path.name
        assert len(rows) == KNOWN.get(path.name, len(rows))
