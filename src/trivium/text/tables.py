"""Tables of labelled text: strict, streaming reading and writing.

Every cell is text, exactly as in the file: NA, null and leading spaces mean nothing here.
Lines end with LF or CRLF. Empty lines at the end of a file are no rows; anywhere else each is a
BadRow. To add a format: a name and its endings in `lines`, an opener that returns `Opened` and a
line in `open_table`, and a line in `writing`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from trivium.errors import RecipeError
from trivium.text.array import open_array
from trivium.text.delimited import open_delimited
from trivium.text.encodings import Encoding
from trivium.text.excel import open_excel
from trivium.text.jsonl import open_jsonl
from trivium.text.lines import BadRow, Format, Source, format_of
from trivium.text.parquet import open_parquet
from trivium.text.parts import Part, cut_file
from trivium.text.writing import write_table
from trivium.types import Row

__all__ = ["BadRow", "Format", "Table", "open_table", "write_table"]


@dataclass(frozen=True, slots=True)
class Table:
    """An opened table: iterating streams its rows, from the start each time, in little memory.

    Every record is yielded once, as a Row or a BadRow. In Parquet, `line` is the number of the
    row, from 1. Standard input and pipes can be iterated once. Raises RecipeError where the file
    itself is broken.
    """

    path: Path | None
    """None for standard input."""
    name: str
    columns: tuple[str, ...]
    dialect: str
    """For people: how the file was understood."""
    format: Format
    is_file: bool
    """Else it can be iterated once."""
    _rows: Callable[..., Iterator[Row | BadRow]] = field(repr=False)
    is_cut: bool = False
    """Whether its rows can be read in parts."""

    def __iter__(self) -> Iterator[Row | BadRow]:
        return self._rows()

    def parts(self, size: int, *, quoted: bool) -> list[Part]:
        """Of at least `size` bytes; one where the format has none. quoted: see `cut_file`."""
        assert self.path is not None, "parts are of files"
        if not self.is_cut:
            return [Part(0, self.path.stat().st_size, 1)]
        return cut_file(self.path, size, quoted=quoted and self.format != "jsonl")

    def within(self, part: Part) -> "Table":
        """The table of a part's rows alone; blank ones that end it are BadRows.

        Iterating it raises TornError where the part ends within a quoted cell.
        """
        return replace(self, _rows=lambda: self._rows(part)) if self.is_cut else self


def renamed(table: Table, name: str) -> Table:
    """The same table, called otherwise by messages."""
    return replace(table, name=name)


def open_table(
    path: str | Path,
    *,
    delimiter: str | None = None,
    quoting: Literal["standard", "none"] = "standard",
    format: Format | None = None,
    encoding: Encoding | None = None,
) -> Table:
    """Read the header of a table; "-" is standard input, taken as tab-separated without `format`.

    `format` is otherwise that of the file's ending; "csv" and "tsv" only break ties when the
    separator is detected. quoting="none" makes a quote an ordinary character. encoding: of text
    that is not UTF-8. Raises RecipeError.
    """
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n\0'):
        raise RecipeError(
            f"{path}: delimiter {delimiter!r} is not one character other than a quote or a line "
            'end. Write for instance delimiter: "\\t" or ";".'
        )
    source = Source.of(path, encoding)
    kind = format or ("tsv" if source.path is None else format_of(source.path))
    if kind == "parquet":
        columns, dialect, rows = open_parquet(source)
    elif kind == "jsonl":
        columns, dialect, rows = open_jsonl(source)
    elif kind == "json":
        columns, dialect, rows = open_array(source)
    elif kind == "xlsx":
        columns, dialect, rows = open_excel(source)
    else:
        columns, dialect, rows = open_delimited(source, kind, delimiter, quoting == "standard")
    is_cut = source.is_file and kind in ("csv", "tsv", "jsonl") and source.encoding != "utf-16"
    return Table(source.path, source.name, columns, dialect, kind, source.is_file, rows, is_cut)
