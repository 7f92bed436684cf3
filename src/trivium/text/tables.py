"""Tables of labelled text: strict, streaming reading and writing. `delimited` in the comments
means .csv, .tsv and .txt, whose separator is detected; the others are JSON lines and Parquet.

Every cell is text, exactly as in the file: NA, null and leading spaces mean nothing here.
Lines end with LF or CRLF. A lone CR is text inside a quoted cell and a BadRow outside one.
Empty lines at the end of a file are no rows; anywhere else each is a BadRow.

Quotes are where rows get lost: a lone " swallows all up to the next one. So a bad quote is an
error of the file, and so is a quoted cell over several lines that could be rows glued together
(`_Dialect.is_doubtful`). `write_table` quotes every cell of such rows, which leaves no doubt.
"""

import codecs
import csv
import difflib
import json
import os
import re
import secrets
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, BinaryIO, Literal

from trivium.errors import RecipeError
from trivium.text.parquet import ParquetRows, Value, open_parquet, text_of
from trivium.types import Row

Format = Literal["csv", "tsv", "jsonl", "parquet"]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that could not be read."""

    line: int
    problem: str
    """What was found and what to do; without the name of the file."""


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
    _rows: Callable[[], Iterator[Row | BadRow]] = field(repr=False)

    def __iter__(self) -> Iterator[Row | BadRow]:
        return self._rows()


def open_table(
    path: str | Path,
    *,
    delimiter: str | None = None,
    quoting: Literal["standard", "none"] = "standard",
    format: Format | None = None,
) -> Table:
    """Read the header of a table; "-" is standard input, taken as tab-separated without `format`.

    `format` is otherwise that of the file's ending; "csv" and "tsv" only break ties when the
    separator is detected. quoting="none" makes a quote an ordinary character. Raises RecipeError.
    """
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n\0'):
        raise RecipeError(
            f"{path}: delimiter {delimiter!r} is not one character other than a quote or a line "
            'end. Write for instance delimiter: "\\t" or ";".'
        )
    source = _Source.of(path)
    kind = format or ("tsv" if source.path is None else _format(source.path))
    if kind == "parquet":
        if not source.is_file or source.path is None:
            raise RecipeError(f"{source.name}: Parquet cannot be read from a pipe; name a file.")
        columns, rows = open_parquet(source.path)
        _check_columns(columns, source.name)
        return Table(source.path, source.name, columns, "Parquet", rows)
    if kind == "jsonl":
        return _open_json(source)
    return _open_delimited(source, kind, delimiter, quoting == "standard")


# ---- lines of text ------------------------------------------------------------------------------

_ENDINGS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
_SAMPLE_LINES = 100  # looked at when a table is opened
_CELL_CHARACTERS = 10_000_000  # bounds the memory that an unclosed quote can take
_LINE_BYTES = 64 * 2**20
_BINARY = {
    b"\x1f\x8b": "gzip; decompress it with `gunzip`",
    b"BZh91AY&SY": "bzip2; decompress it with `bunzip2`",
    b"\xfd7zXZ": "xz; decompress it with `unxz`",
    b"\x28\xb5\x2f\xfd": "zstandard; decompress it with `unzstd`",
    b"PK\x03\x04": "a zip archive or an Excel workbook; unzip it, or save the sheet as CSV UTF-8",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save the sheet as CSV UTF-8",
    b"PAR1\x15": "Parquet; let its name end in .parquet",
    b"\xff\xfe": "UTF-16; convert it with `iconv -f utf-16 -t utf-8`",
    b"\xfe\xff": "UTF-16; convert it with `iconv -f utf-16 -t utf-8`",
}


@dataclass(slots=True)
class _Source:
    """The lines of a file, or of a stream, which can be read once."""

    path: Path | None
    name: str
    is_file: bool
    _stream: Iterator[str] | None = None

    @classmethod
    def of(cls, path: str | Path) -> "_Source":
        if str(path) == "-":
            return cls(None, "standard input", False)
        path = Path(path)
        # Opening a pipe twice would cut off the program that writes into it.
        is_stream = path.exists() and not path.is_file() and not path.is_dir()
        if not is_stream:
            _open(path).close()
        return cls(path, str(path), not is_stream)

    def head(self) -> list[str]:
        stream = self._lines()
        head = list(islice(stream, _SAMPLE_LINES))
        if not head:
            raise RecipeError(f"{self.name}: is empty; its first line must name the columns.")
        if not head[0].strip("\r\n"):
            raise RecipeError(f"{self.name}:1: is blank; the first line must name the columns.")
        if self.is_file:
            stream.close()
        else:
            self._stream = chain(head, stream)
        return head

    def again(self) -> Iterator[str]:
        """All lines from the first; RecipeError for a stream already read."""
        if self.is_file:
            return self._lines()
        if self._stream is None:
            raise RecipeError(f"{self.name}: can be read once only; save it to a file first.")
        lines, self._stream = self._stream, None
        return lines

    def _lines(self) -> Generator[str, None, None]:
        stream = sys.stdin.buffer if self.path is None else _open(self.path)
        try:
            for number, raw in enumerate(iter(lambda: stream.readline(_LINE_BYTES), b""), 1):
                yield _decoded(raw, number, self.name)
        finally:
            if self.path is not None:
                stream.close()


def _open(path: Path) -> BinaryIO:
    if path.is_dir():
        raise RecipeError(f"{path}: is a folder; name a file in it.")
    try:
        return path.open("rb")
    except FileNotFoundError:
        near = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, near, n=3)
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else " Check the path."
        where = "no such file." if path.parent.is_dir() else f"no folder {str(path.parent)!r}."
        raise RecipeError(f"{path}: {where}{hint}") from None
    except OSError as error:
        raise RecipeError(
            f"{path}: cannot be read ({error.strerror}). Check the permissions of the file."
        ) from None


def _decoded(raw: bytes, number: int, name: str) -> str:
    if number == 1:
        for magic, what in _BINARY.items():
            if raw.startswith(magic):
                raise RecipeError(f"{name}:1: is {what}; a table is UTF-8 text.")
        raw = raw.removeprefix(codecs.BOM_UTF8)
    if b"\0" in raw:
        raise RecipeError(
            f"{name}:{number}: holds a NUL byte, which text does not. If the file is UTF-16, "
            "convert it with `iconv -f utf-16 -t utf-8`; else remove the byte."
        )
    if len(raw) == _LINE_BYTES:
        raise RecipeError(
            f"{name}:{number}: is longer than {_LINE_BYTES >> 20} MiB. Does a row end with LF?"
        )
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise RecipeError(
            f"{name}:{number}: byte {error.start + 1} of the line is 0x{raw[error.start]:02x}, "
            "which is not UTF-8. Convert the file, for instance with `iconv -f latin1 -t utf-8`."
        ) from None


def _format(path: Path) -> Format:
    kind = _ENDINGS.get(path.suffix.lower())
    if kind is None:
        raise RecipeError(
            f"{path}: the ending {path.suffix!r} is not one of {', '.join(_ENDINGS)}. "
            "Rename the file, or say its `format`: csv, tsv, jsonl or parquet."
        )
    return kind


def _check_columns(columns: Sequence[str], name: str) -> None:
    for column in columns:
        if "\n" in column or "\r" in column:
            raise RecipeError(f"{name}:1: column {column!r} has a line end in its name. Remove it.")
        if columns.count(column) > 1:
            what = f"named {column!r}" if column else "without a name"
            raise RecipeError(
                f"{name}:1: {columns.count(column)} columns are {what}, in the header "
                f"{list(columns)}. Give every column a name of its own; one may have none."
            )


_BLANK = "is blank. Remove the line, or fill it in."


def _without_last_blanks(rows: Iterable[Row | BadRow]) -> Iterator[Row | BadRow]:
    held: list[BadRow] = []
    for row in rows:
        if isinstance(row, BadRow) and row.problem is _BLANK:
            held.append(row)
            continue
        yield from held
        held.clear()
        yield row


# ---- delimited ----------------------------------------------------------------------------------

_NAMES = {"\t": "tab", ",": "comma", ";": "semicolon", "|": "pipe"}


def _open_delimited(source: _Source, kind: Format, delimiter: str | None, quoted: bool) -> Table:
    head = source.head()
    dialect = _Dialect(source.name, delimiter or _detect(head, kind, quoted), quoted)
    columns = dialect.header(head[0])
    _check_columns(columns, source.name)
    shown = f"{dialect.shown}-separated" if len(columns) > 1 else "one column"
    quotes = 'cells quoted with " where needed' if quoted else "quotes are ordinary characters"

    def rows() -> Iterator[Row | BadRow]:
        return _without_last_blanks(dialect.rows(source.again(), columns))

    return Table(source.path, source.name, columns, f"{shown}, {quotes}, UTF-8", rows)


def _detect(head: list[str], kind: Format, quoted: bool) -> str:
    """The separator in the header whose count of cells most of the first rows share."""

    def agreement(delimiter: str) -> float:
        try:
            records = list(_Dialect("", delimiter, quoted).reader(head, strict=False))
        except csv.Error:
            return 0.0
        whole = records[:-1] if len(head) == _SAMPLE_LINES else records
        rows = [record for record in whole[1:] if record]
        return sum(len(row) == len(records[0]) for row in rows) / len(rows) if rows else 1.0

    found: list[str] = []
    for delimiter in "\t,;|" if kind == "tsv" else ",\t;|":
        with suppress(csv.Error):  # a bad header is refused later, with its reason
            first = next(_Dialect("", delimiter, quoted).reader(head[:1], strict=False))
            found += [delimiter] * (len(first) > 1)
    # A tab never stands in a text by chance, so it is the safe choice for one column.
    return max(found, key=agreement, default="\t")


@dataclass(frozen=True, slots=True)
class _Dialect:
    name: str
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
        taken: list[str] = []  # the lines of the record at hand

        def feed() -> Iterator[str]:
            for text in lines:
                taken.append(text)
                yield text

        reader = self.reader(feed())
        is_safe = len(columns) > 1
        line = 1
        for number in count():
            line += len(taken)
            taken.clear()
            try:
                cells = next(reader, None)
            except csv.Error as error:
                yield self.refused(error, taken, line)
                continue
            if cells is None:
                return
            if number == 0:
                is_safe = is_safe or taken[0].rstrip("\r\n") == _all_quoted(cells, self.delimiter)
                continue
            if len(taken) > 1:
                self.check_lines(cells, taken, line, len(columns), is_safe)
            if len(cells) == len(columns):
                yield Row(dict(zip(columns, cells, strict=True)), line)
            else:
                yield BadRow(line, self.miscounted(len(cells), len(columns)) if cells else _BLANK)

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

    def check_lines(
        self, cells: list[str], taken: list[str], line: int, columns: int, is_safe: bool
    ) -> None:
        """RecipeError for a record over several lines that may be rows which lone quotes glued."""
        is_sure = is_safe and "".join(taken).rstrip("\r\n") == _all_quoted(cells, self.delimiter)
        if len(cells) == columns and (is_sure or not self.is_doubtful(cells)):
            return
        spans = [(a, b) for a, b, _ in self.quoted_cells(taken) if b > a]
        first, last = spans[0] if spans else (0, len(taken) - 1)
        what = f"gives {len(cells)} cells where the header has {columns}"
        if len(cells) == columns:
            what = "may be whole rows between two lone quotes, or one text of several lines"
        raise RecipeError(
            f"{self.name}:{line + first}: the quoted cell that opens here closes on line "
            f"{line + last}; that {what}. {_REMEDY} If the text does have several lines, quote "
            "every cell of the row, and of the header if there is one column (csv.QUOTE_ALL)."
        )

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


_REMEDY = (
    'Double every quote inside a quoted cell (""), or set `quoting: none` if quotes are ordinary '
    "characters in this file."
)


def _all_quoted(cells: list[str], delimiter: str) -> str:
    return delimiter.join('"' + cell.replace('"', '""') + '"' for cell in cells)


# ---- JSON lines ---------------------------------------------------------------------------------


def _open_json(source: _Source) -> Table:
    try:
        columns = tuple(_json_cells(source.head()[0]))
    except ValueError as error:
        # The head itself fails with RecipeError, which is a ValueError and complete.
        if isinstance(error, RecipeError):
            raise
        raise RecipeError(f"{source.name}:1: {error}") from None
    if not columns:
        raise RecipeError(f"{source.name}:1: is an empty object; its keys must name the columns.")

    def rows() -> Iterator[Row | BadRow]:
        lines = enumerate(source.again(), 1)
        return _without_last_blanks(_json_row(text, line, columns) for line, text in lines)

    return Table(source.path, source.name, columns, "JSON lines, UTF-8", rows)


def _json_row(text: str, line: int, columns: tuple[str, ...]) -> Row | BadRow:
    if not text.strip("\r\n"):
        return BadRow(line, _BLANK)
    try:
        cells = _json_cells(text)
    except ValueError as error:
        return BadRow(line, str(error))
    if cells.keys() == set(columns):
        return Row({column: cells[column] for column in columns}, line)
    missing = [column for column in columns if column not in cells]
    what = f"lacks {missing}" if missing else f"has other keys too, {sorted({*cells} - {*columns})}"
    return BadRow(
        line, f"{what}; the first line has {list(columns)}. Give every line the same keys."
    )


def _json_cells(text: str) -> dict[str, str]:
    """Text of each value of one object; ValueError with the problem and the remedy."""
    try:
        record = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        found = f"{error.msg}, at column {error.colno}"
        raise ValueError(f"is not JSON: {found}. Write one object per line.") from None
    except RecursionError:
        raise ValueError("is nested too deep. Write one flat object per line.") from None
    if not isinstance(record, dict):
        raise ValueError('is not an object. Write one per line: {"text": ..., "label": ...}.')
    for key, value in record.items():
        if isinstance(value, (dict, list)):
            kind = "an object" if isinstance(value, dict) else "a list"
            raise ValueError(f"key {key!r} holds {kind}. Make it text, a number, true or null.")
    cells = {key: text_of(value) for key, value in record.items()}
    if "\\u" in text and re.search("[\ud800-\udfff]", "".join([*cells, *cells.values()])):
        raise ValueError("holds half a surrogate pair (\\ud800 to \\udfff). Remove it.")
    return cells


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"has the key {twice!r} twice. Keep one.")
    return record


def _no_constant(text: str) -> None:
    raise ValueError(f"holds {text}, which is not JSON. Write null for a missing number.")


# Numbers stay the text that the file has: 1.0 is not 1, and 0.10 is not 0.1.
_DECODER = json.JSONDecoder(
    object_pairs_hook=_once, parse_float=str, parse_int=str, parse_constant=_no_constant
)


# ---- writing ------------------------------------------------------------------------------------


class TableWriter:
    """What `write_table` gives: one call of `write` per row."""

    def __init__(self, stream: BinaryIO, kind: Format, columns: Sequence[str], name: str) -> None:
        self._columns, self._name, self._row = tuple(columns), name, 0
        _check_columns(self._columns, name)
        if not columns:
            raise RecipeError(f"{name}: cannot be written without a column.")
        self._parquet: ParquetRows | None = None
        self._put: Callable[[Sequence[Value]], None]
        if kind == "parquet":
            self._parquet = ParquetRows(stream, self._columns, name)
            self._put = self._parquet.write
        elif kind == "jsonl":
            self._put = self._json(stream)
        else:
            self._put = self._delimited(stream, "," if kind == "csv" else "\t")
            self._guarded(self._columns)

    def write(self, row: Mapping[str, Value] | Sequence[Value]) -> None:
        """Write one row: values in the order of the columns, or by name. None is a missing cell.

        Raises RecipeError for other columns, and for values that the format cannot hold.
        """
        self._row += 1
        found = list(row) if isinstance(row, Mapping) else len(row)
        if isinstance(row, Mapping) and row.keys() == set(self._columns):
            row = [row[column] for column in self._columns]
        if isinstance(row, Mapping) or len(row) != len(self._columns):
            raise RecipeError(
                f"{self._name}: row {self._row} has {found} where the columns are "
                f"{list(self._columns)}. Write a value for each of them."
            )
        self._guarded(row)

    def finish(self) -> None:
        """Write what is still in memory."""
        if self._parquet is not None:
            self._parquet.finish()

    def close(self) -> None:
        """Let go of the stream, finished or not."""
        if self._parquet is not None:
            self._parquet.close()

    def _guarded(self, values: Sequence[Value]) -> None:
        try:
            self._put(values)
        except RecipeError:
            raise
        except ValueError as error:  # half a surrogate pair, NUL, or a number such as NaN
            raise RecipeError(
                f"{self._name}: row {self._row} cannot be written ({error}). Fix the value."
            ) from None

    def _json(self, stream: BinaryIO) -> Callable[[Sequence[Value]], None]:
        def put(values: Sequence[Value]) -> None:
            record = dict(zip(self._columns, values, strict=True))
            stream.write(f"{json.dumps(record, ensure_ascii=False, allow_nan=False)}\n".encode())

        return put

    def _delimited(self, stream: BinaryIO, delimiter: str) -> Callable[[Sequence[Value]], None]:
        out = csv.writer(
            codecs.getwriter("utf-8")(stream), delimiter=delimiter, lineterminator="\n"
        )

        def put(values: Sequence[Value]) -> None:
            cells = [text_of(value) for value in values]
            text = "".join(cells)
            if "\0" in text:
                raise ValueError("a NUL byte")
            # See `is_doubtful`; a mark at the very start would be read as a byte order mark.
            if len(cells) == 1 or "\n" in text or "\r" in text or cells[0].startswith("\ufeff"):
                stream.write(f"{_all_quoted(cells, delimiter)}\n".encode())
            else:
                out.writerow(cells)

        return put


@contextmanager
def write_table(path: str | Path, columns: Sequence[str]) -> Iterator[TableWriter]:
    """Write a table in the format of the path's ending; "-" is standard output, tab-separated.

    The file appears, or is replaced, when the block ends well; after an error all is as before.
    Numbers stay numbers in JSON lines and Parquet. Raises RecipeError.
    """
    if str(path) == "-":
        sys.stdout.flush()
        yield TableWriter(sys.stdout.buffer, "tsv", columns, "standard output")
        sys.stdout.buffer.flush()
        return
    kind = _format(Path(path))
    target = Path(os.path.realpath(path))  # a link stays a link
    if target.exists() and not target.is_file():
        raise RecipeError(f"{path}: is not a regular file, so it cannot be replaced.")
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        stream = part.open("xb")
    except OSError as error:
        raise RecipeError(
            f"{path}: cannot be written ({error.strerror}). Check its folder."
        ) from None
    try:
        with stream:
            writer = TableWriter(stream, kind, columns, str(path))
            try:
                yield writer
                writer.finish()
            finally:
                writer.close()
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
