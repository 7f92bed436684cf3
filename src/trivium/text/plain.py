"""Plain text, a text a line, as a table with one column."""

from collections.abc import Iterator
from pathlib import Path

from trivium.text.encodings import Encoding
from trivium.text.lines import BadRow, Source
from trivium.text.tables import Table
from trivium.types import Row


def is_plain(path: str | Path) -> bool:
    return Path(path).suffix.lower() == ".txt"


def open_lines(path: str | Path, column: str, encoding: Encoding | None = None) -> Table:
    """The lines of a file without header. Blank ones, which part paragraphs, are no rows.

    column: what to call the text. Raises RecipeError.
    """
    source = Source.of(path, encoding)
    dialect = "plain text, a text a line"
    if source.is_file:
        blank = sum(not line.strip() for line in source.again())
        dialect += f", {blank:,} blank lines skipped" if blank else ""

    def rows() -> Iterator[Row | BadRow]:
        for number, line in enumerate(source.again(), 1):
            if text := line.strip():
                yield Row({column: text}, number)

    return Table(source.path, source.name, (column,), dialect, "tsv", source.is_file, rows)
