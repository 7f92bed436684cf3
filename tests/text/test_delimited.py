"""Delimited text: quotes never swallow rows, and the rows confirm the separator."""

import csv
import io
import re
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.support.samples import NASTY, bad_rows, cells, quick, refusal, saved
from trivium.errors import RecipeError
from trivium.text.tables import open_table
from trivium.types import Row

# Cells as people type them: a quote may open a cell or close it, without a partner in the cell.
# A row whose other cells all are quoted counts as sure, hence none here that is quoted whole; and
# commas before a space count as prose, hence none that starts with a space.
TYPED = (
    st.from_regex(r'\A"?[ab5][ab" ]{0,2}\Z|\A[ab5][ab ]{0,2}"\Z|\A[ab]\Z')
    .map(str.strip)
    .filter(lambda text: not (text[0] == text[-1] == '"'))
)


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


def test_cells_longer_than_the_default_of_the_csv_module_are_read(tmp_path: Path) -> None:
    long = "word " * 100_000
    assert cells(open_table(saved(tmp_path, f"a\tb\n{long}\t1\n"))) == [(long, "1")]
