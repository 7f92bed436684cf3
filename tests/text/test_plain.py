"""Plain text: a text a line."""

from pathlib import Path

import pytest

from trivium.errors import RecipeError
from trivium.text.lines import BadRow
from trivium.text.plain import is_plain, open_lines


def test_lines_are_rows_and_blank_ones_are_not(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(b'\xef\xbb\xbfA "quoted, line"\r\n\r\n  \n\tanother\tone \nlast')
    table = open_lines(path, "text")
    rows = [(row.line, row.cells["text"]) for row in table if not isinstance(row, BadRow)]
    assert rows == [(1, 'A "quoted, line"'), (4, "another\tone"), (5, "last")]
    assert list(table) == list(table)
    assert table.columns == ("text",)
    assert table.dialect == "plain text, a text a line, 2 blank lines skipped"


def test_bytes_that_are_no_text_are_named_by_line(tmp_path: Path) -> None:
    path = tmp_path / "old.txt"
    path.write_bytes("fine\ncaf\u00e9\n".encode("latin1"))
    with pytest.raises(RecipeError, match=r"old\.txt:2: byte 4 of the line is 0xe9"):
        open_lines(path, "text")


def test_the_ending_tells_plain_text() -> None:
    assert is_plain("a/b.TXT")
    assert not is_plain("a/b.tsv")
