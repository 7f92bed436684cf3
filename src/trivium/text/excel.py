"""Excel workbooks (.xlsx): the first sheet; `line` is the row's number as Excel shows it.

A number is spelt as JSON would, a formula is what Excel last computed for it.
"""

from collections.abc import Iterator
from contextlib import closing
from datetime import date, datetime, time
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from trivium.errors import RecipeError
from trivium.text.jsonl import text_of
from trivium.text.lines import BLANK, BadRow, Opened, Source, check_columns, without_last_blanks
from trivium.types import Row

LARGE = 64 * 2**20
TIMES = 100
"""A workbook is a zip archive: larger than this, unpacked, it may not be so many times as large as
its file. Sheets of people's texts are some ten times."""
MOST_ROWS = 2**20
"""Of a sheet, in Excel."""


def open_excel(source: Source) -> Opened:
    """RecipeError for what is no workbook, and where the package that reads it is missing."""
    path = source.path
    if path is None or not source.is_file:
        raise RecipeError(f"{source.name}: Excel cannot be read from a pipe; name a file.")
    with closing(_book(path)) as book:
        sheets = [sheet.title for sheet in book.worksheets]
        header = next(_cells(book, source.name), [])
    columns = tuple(header)
    while columns and not columns[-1]:
        columns = columns[:-1]
    if not columns:
        raise RecipeError(f"{source.name}:1: is blank; the first row must name the columns.")
    check_columns(columns, source.name)
    others = f", the first of {len(sheets)}" if len(sheets) > 1 else ""

    def rows() -> Iterator[Row | BadRow]:
        return without_last_blanks(_rows(path, columns, source.name))

    return columns, f"Excel, sheet {sheets[0]!r}{others}", rows


def _rows(path: Path, columns: tuple[str, ...], name: str) -> Iterator[Row | BadRow]:
    width = len(columns)
    with closing(_book(path)) as book:
        for line, cells in enumerate(_cells(book, name), 1):
            if line == 1:
                continue
            if not any(cells):
                yield BadRow(line, BLANK)
            elif any(cells[width:]):
                yield BadRow(line, f"has a cell beside the {width} columns that row 1 names.")
            else:
                filled = cells[:width] + [""] * (width - len(cells))
                yield Row(dict(zip(columns, filled, strict=True)), line)


def _cells(book: Any, name: str) -> Iterator[list[str]]:
    """Row by row, each as far as its last cell. Raises RecipeError."""
    sheet = book.worksheets[0]
    sheet.reset_dimensions()  # what a file says of its size is often less than it holds
    try:
        for line, row in enumerate(sheet.iter_rows(values_only=True), 1):
            if line > MOST_ROWS:  # openpyxl fills up to whatever number a row bears
                raise ValueError(f"a row is numbered above {MOST_ROWS:,}")
            yield [_text(value) for value in row]
    except Exception as error:  # of many kinds: whatever a damaged file makes of XML and zip
        raise _unreadable(name, error) from None


def _text(value: Any) -> str:
    if isinstance(value, datetime) and value.time() == time():
        value = value.date()
    return value.isoformat() if isinstance(value, date | time) else text_of(value)


def _book(path: Path) -> Any:
    try:
        import openpyxl
    except ImportError:
        raise RecipeError(
            f"{path}: Excel needs openpyxl. Run `pip install 'trivium[excel]'`, or save the sheet "
            "as `CSV UTF-8`."
        ) from None
    _refuse_what_explodes(path)
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except Exception as error:  # as above
        raise _unreadable(str(path), error) from None
    if not book.worksheets:
        raise RecipeError(f"{path}: holds no sheet of cells.")
    return book


def _refuse_what_explodes(path: Path) -> None:
    """Nothing is unpacked for it: zipfile unpacks no more of a file than its entry says."""
    try:
        with ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except (OSError, BadZipFile, ValueError) as error:
        raise _unreadable(str(path), error) from None
    packed = path.stat().st_size
    if unpacked > max(LARGE, TIMES * packed):
        raise RecipeError(
            f"{path}: would be {unpacked / 2**20:,.0f} MiB unpacked, more than {TIMES} times its "
            f"{packed / 2**20:,.1f} MiB: a workbook of texts is not. Save the sheet as `CSV UTF-8`."
        )


def _unreadable(name: str, error: Exception) -> RecipeError:
    said = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
    return RecipeError(
        f"{name}: is not a readable Excel workbook ({said}). Save the sheet as `CSV UTF-8`."
    )
