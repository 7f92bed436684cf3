"""Delimited text: .csv, .tsv and .txt, whose separator is detected.

Quotes are where rows get lost: a lone " swallows all up to the next one. So a bad quote is an
error of the file, and so is a quoted cell over several lines that could be rows glued together
(`_Dialect.is_doubtful`). `write_table` quotes every cell of such rows, which leaves no doubt.
A lone CR is text inside a quoted cell and a BadRow outside one.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from trivium.errors import RecipeError
from trivium.text.lines import (
    BLANK,
    SAMPLE_LINES,
    BadRow,
    Format,
    Opened,
    Source,
    check_columns,
    without_last_blanks,
)
from trivium.text.parts import Part, TornError
from trivium.types import Row


def open_delimited(source: Source, kind: Format, delimiter: str | None, is_quoted: bool) -> Opened:
    """Columns of a table with a separator, how it is written in words, and what reads its rows.
    delimiter: None: found by its first lines; is_quoted: whether `"` quotes cells. Raises
    RecipeError.
    """
    head = source.head()
    dialect = _Dialect(source.name, delimiter or _detect(head, kind, is_quoted), is_quoted)
    columns = dialect.header(head[0])
    if source.path is None and head[0].lstrip().startswith(("{", "[{")):
        raise RecipeError(
            f"{source.name}: is JSON, it seems, but is read as CSV or TSV. Put it into a file "
            "whose name ends in .jsonl (or .json, if it is one array), and name that."
        )
    check_columns(columns, source.name)
    shown = f"{dialect.shown}-separated" if len(columns) > 1 else "one column"
    quotes = 'cells quoted with " where needed' if is_quoted else "quotes are ordinary characters"

    def rows(part: Part | None = None) -> Iterator[Row | BadRow]:
        if part is None:
            return without_last_blanks(dialect.rows(source.again(), columns))
        lines, last = source.within(part), part.last == source.size
        return dialect.rows_within(lines, columns, part, head[0], last=last)

    return columns, f"{shown}, {quotes}, {source.shown_encoding}", rows


def all_quoted(cells: list[str], delimiter: str) -> str:
    """One row with every cell quoted, without its line end."""
    return delimiter.join('"' + cell.replace('"', '""') + '"' for cell in cells)


def _detect(head: list[str], kind: Format, is_quoted: bool) -> str:
    """The separator in the header whose count of cells most of the first rows share."""

    def agreement(delimiter: str) -> float:
        try:
            records = list(_Dialect("", delimiter, is_quoted).reader(head, strict=False))
        except csv.Error:
            return 0.0
        whole = records[:-1] if len(head) == SAMPLE_LINES else records
        rows = [record for record in whole[1:] if record]
        return sum(len(row) == len(records[0]) for row in rows) / len(rows) if rows else 1.0

    found: list[str] = []
    for delimiter in "\t,;|" if kind == "tsv" else ",\t;|":
        with suppress(csv.Error):  # a bad header is refused later, with its reason
            first = next(_Dialect("", delimiter, is_quoted).reader(head[:1], strict=False))
            found += [delimiter] * (len(first) > 1)
    # A tab never stands in a text by chance, so it is the safe choice for one column.
    return max(found, key=agreement, default="\t")


@dataclass(frozen=True, slots=True)
class _Dialect:
    name: str
    """Of the file, for messages."""
    delimiter: str
    is_quoted: bool

    @property
    def shown(self) -> str:
        return _NAMES.get(self.delimiter, repr(self.delimiter))

    def reader(self, lines: Iterable[str], strict: bool = True) -> Iterator[list[str]]:
        csv.field_size_limit(max(csv.field_size_limit(), _CELL_CHARACTERS))
        return csv.reader(
            lines,
            delimiter=self.delimiter,
            quoting=csv.QUOTE_MINIMAL if self.is_quoted else csv.QUOTE_NONE,
            strict=strict,
        )

    def header(self, line: str) -> tuple[str, ...]:
        try:
            return tuple(next(self.reader([line])))
        except csv.Error as error:
            bad = self.refused(error, [line], 1)
            raise RecipeError(f"{self.name}:1: {bad.problem}") from None

    def rows(self, lines: Iterable[str], columns: tuple[str, ...]) -> Iterator[Row | BadRow]:
        """Of a whole file."""
        return self._records(lines, columns, _Place(self, columns))

    def rows_within(
        self, lines: Iterable[str], columns: tuple[str, ...], part: Part, header: str, *, last: bool
    ) -> Iterator[Row | BadRow]:
        """Of a part of a file. header: the file's first line. Raises TornError where the part ends
        within a cell, unless it is the last one."""
        place = _Place(self, columns, is_torn=not last)
        if part.first > 0:
            place.begun(part.line, [*columns], [header])
        return self._records(lines, columns, place)

    def _records(
        self, lines: Iterable[str], columns: tuple[str, ...], place: "_Place"
    ) -> Iterator[Row | BadRow]:
        taken: list[str] = []  # the lines of the record at hand

        def feed() -> Iterator[str]:
            for text in lines:
                taken.append(text)
                yield text

        reader = self.reader(feed())
        while True:
            place.line += len(taken)
            taken.clear()
            try:
                cells = next(reader, None)
            except csv.Error as error:
                yield place.refused(error, taken)
                continue
            if cells is None:
                return
            if place.is_header:
                place.begun(place.line, cells, taken)
                continue
            if len(taken) > 1:
                is_sure = place.trusts_quotes and self.is_quoted_whole(cells, taken)
                if len(cells) != len(columns) or (self.is_doubtful(cells) and not is_sure):
                    raise self.glued(cells, taken, place.line, len(columns))
            if len(cells) == len(columns):
                yield Row(dict(zip(columns, cells, strict=True)), place.line)
            else:
                yield BadRow(
                    place.line, self.miscounted(len(cells), len(columns)) if cells else BLANK
                )

    def is_quoted_whole(self, cells: list[str], taken: list[str]) -> bool:
        return "".join(taken).rstrip("\r\n") == all_quoted(cells, self.delimiter)

    def miscounted(self, cells: int, columns: int) -> str:
        return (
            f"has {cells} cell{'s' * (cells != 1)} where the header has {columns} "
            f"({self.shown}-separated). Fix the row, or set `delimiter` if that is wrong."
        )

    def refused(self, error: csv.Error, taken: list[str], line: int) -> BadRow:
        """The row that the csv module refused; RecipeError if the file's quotes are to blame."""
        if "new-line" in str(error) and len(taken) == 1:
            return BadRow(
                line,
                "holds a carriage return (CR) outside quotes. End lines with LF or CRLF, or quote "
                "the cell.",
            )
        cells = self.quoted_cells(taken)
        first, last = next(((a, b) for a, b, is_closed in cells if not is_closed), (0, 0))
        what = "is never closed"
        if "limit" in str(error):
            what = f"runs on for more than {_CELL_CHARACTERS:,} characters"
        elif "unexpected end" not in str(error):
            what = f"is closed on line {line + last} by a quote with more text after it"
        raise RecipeError(
            f"{self.name}:{line + first}: the quoted cell that opens here {what}. {_REMEDY}"
        )

    def glued(self, cells: list[str], taken: list[str], line: int, columns: int) -> RecipeError:
        """The error for a record over several lines that may be rows which lone quotes glued."""
        spans = [(a, b) for a, b, _ in self.quoted_cells(taken) if b > a]
        first, last = spans[0] if spans else (0, len(taken) - 1)
        what = f"gives {len(cells)} cells where the header has {columns}"
        if len(cells) == columns:
            what = "may be whole rows between two lone quotes, or one text of several lines"
        return RecipeError(
            f"{self.name}:{line + first}: the quoted cell that opens here closes on line "
            f"{line + last}; that {what}. {_REMEDY} If the text does have several lines, quote "
            "every cell of the row, and of the header if there is one column (csv.QUOTE_ALL)."
        )

    def quoted_cells(self, taken: list[str]) -> Iterator[tuple[int, int, bool]]:
        """First line, last line (from 0) and soundness of each quoted cell."""
        other = re.escape(self.delimiter)
        cell = re.compile(f'(?:(")((?:[^"]++|"")*+)("?))?([^{other}\n]*+)')
        text, position = "".join(taken), 0
        while position < len(text) and (match := cell.match(text, position)):
            if match[1]:
                first = text.count("\n", 0, position)
                last = first + match[2].count("\n")
                yield first, last, bool(match[3]) and not match[4].strip("\r")
            position = match.end() + 1

    def is_doubtful(self, cells: list[str]) -> bool:
        """Whether a record over several lines reads as well as one row per line.

        Commas and semicolons are let through where they look like prose: followed by a space or
        a line end, while those between the cells are not. Tabs and pipes never are prose.
        """
        inner = [cell for cell in cells if "\n" in cell]
        if len(cells) == 1 or not any(self.delimiter in cell for cell in inner):
            return len(cells) == 1
        if self.delimiter not in ",;":
            return True
        is_prose = not any(re.search(f"{self.delimiter}(?!\\s)", cell) for cell in inner)
        if is_prose and cells[-1] and not any(cell[:1].isspace() for cell in cells[1:]):
            return False
        counts = self.separators(cells)
        between = [found == len(cells) - 1 for found in counts[1:-1]]
        whole = counts[0] == counts[-1] == len(cells) - 1
        return whole and 2 * sum(between) >= len(between)

    def separators(self, cells: list[str]) -> list[int]:
        """Separators on each line of a record, were each line a row of its own."""
        counts = [-1]
        for cell in cells:
            counts[-1] += 1
            first, *others = cell.split("\n")
            if others:
                counts[-1] += first.count(self.delimiter)
                counts += [text.count(self.delimiter) for text in others]
        return counts


class _Place:
    """How far the records of a file are read."""

    def __init__(self, dialect: _Dialect, columns: Sequence[str], *, is_torn: bool = False) -> None:
        self.line, self.is_header = 1, True
        self.trusts_quotes = len(columns) > 1
        self._dialect, self._is_torn = dialect, is_torn

    def begun(self, line: int, header: list[str], taken: list[str]) -> None:
        """The header is read: if it is quoted whole, so may be rows of one column."""
        self.line, self.is_header = line, False
        self.trusts_quotes = self.trusts_quotes or self._dialect.is_quoted_whole(header, taken)

    def refused(self, error: csv.Error, taken: list[str]) -> BadRow:
        self.is_header = False
        if self._is_torn and "unexpected end" in str(error):
            raise TornError from None
        return self._dialect.refused(error, taken, self.line)


_CELL_CHARACTERS = 10_000_000  # bounds the memory that an unclosed quote can take
_NAMES = {"\t": "tab", ",": "comma", ";": "semicolon", "|": "pipe"}
_REMEDY = (
    'Double every quote inside a quoted cell (""), or set `quoting: none` if quotes are ordinary '
    "characters in this file."
)
