"""Lines of text from a file or a stream, and what tables of every format share."""

import codecs
import difflib
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO, Literal

from trivium.errors import RecipeError, refuse_no_path
from trivium.text.encodings import Encoding, excerpt, seems_windows
from trivium.text.parts import Part
from trivium.types import Row

Format = Literal["csv", "tsv", "jsonl", "parquet", "json", "xlsx"]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that could not be read."""

    line: int
    problem: str
    """What was found and what to do; without the name of the file."""


Opened = tuple[tuple[str, ...], str, Callable[..., Iterator[Row | BadRow]]]
"""The columns of a table, how it was understood (for people), and what streams its rows: of formats
of lines also those of a `Part`, with the blank ones that end it."""

BLANK = "is blank. Remove the line, or fill it in."
SAMPLE_LINES = 100  # looked at when a table is opened


@dataclass(slots=True)
class Source:
    """The lines of a file, or of a stream, which can be read once."""

    path: Path | None
    """None for standard input."""
    name: str
    is_file: bool
    encoding: Encoding = "utf-8"
    _stream: Iterator[str] | None = None

    @classmethod
    def of(cls, path: str | Path, encoding: Encoding | None = None) -> "Source":
        refuse_no_path(path, "a table")
        if str(path) == "-":
            return cls(None, "standard input", False)
        path = Path(path)
        # Opening a pipe twice would cut off the program that writes into it.
        is_stream = path.exists() and not path.is_file() and not path.is_dir()
        if not is_stream:
            _open(path).close()
        return cls(path, str(path), not is_stream, encoding or "utf-8")

    @property
    def shown_encoding(self) -> str:
        return self.encoding if self.encoding != "utf-8" else "UTF-8"

    @property
    def size(self) -> int:
        """Bytes of a file."""
        return self.path.stat().st_size if self.path else 0

    def head(self) -> list[str]:
        """The first lines; RecipeError unless the very first says something."""
        stream = self._lines()
        head = list(islice(stream, SAMPLE_LINES))
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

    def within(self, part: Part) -> Iterator[str]:
        """The lines of a part of a file that is not UTF-16."""
        assert self.path is not None, "parts are of files"
        with _open(self.path) as stream:
            stream.seek(part.first)
            left, number = part.last - part.first, part.line
            while left > 0 and (raw := stream.readline(_LINE_BYTES)):
                yield _decoded(raw, number, self.name, self.encoding)
                left -= len(raw)
                number += 1

    def _lines(self) -> Generator[str, None, None]:
        stream = _standard_input() if self.path is None else _open(self.path)
        try:
            if self.encoding == "utf-16":
                yield from _wide_lines(stream, self.name)
                return
            for number, raw in enumerate(iter(lambda: stream.readline(_LINE_BYTES), b""), 1):
                yield _decoded(raw, number, self.name, self.encoding)
        finally:
            if self.path is not None:
                stream.close()


def _standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise RecipeError("standard input is closed, so there is no table in it; name a file.")
    return sys.stdin.buffer


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


def _wide_lines(stream: BinaryIO, name: str) -> Iterator[str]:
    """Of UTF-16, whose byte order mark says which half of a character comes first."""
    text, number = TextIOWrapper(stream, encoding="utf-16", newline="\n"), 0
    try:
        while line := text.readline(_LINE_BYTES):
            number += 1
            yield _checked(line, number, name)
    except UnicodeError as error:
        raise RecipeError(
            f"{name}:{number + 1}: is not UTF-16 text with a byte order mark ({error}). Leave "
            "`encoding` out, or say another."
        ) from None
    finally:
        text.detach()  # whoever opened the stream closes it


def _checked(line: str, number: int, name: str) -> str:
    if "\0" in line:
        raise RecipeError(f"{name}:{number}: holds a NUL, which text does not. Remove it.")
    return line


def _decoded(raw: bytes, number: int, name: str, encoding: Encoding) -> str:
    if number == 1:
        for magic, what in _BINARY.items():
            if raw.startswith(magic):
                what = what.replace("FILE", Path(name).name)
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
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise RecipeError(
            f"{name}:{number}: byte {error.start + 1} of the line is 0x{raw[error.start]:02x}, "
            f"which is not {encoding.upper()}. {_meant(raw, error.start, name, encoding)}"
        ) from None


def _meant(raw: bytes, place: int, name: str, encoding: Encoding) -> str:
    """What to do about a line that is not in the encoding that it was read in."""
    file = Path(name).name
    if encoding != "utf-8":
        return "Say another `encoding`, or leave it out for UTF-8."
    if not seems_windows(raw):
        return (
            "Convert the file, for instance with `iconv -f latin1 -t utf-8`, or say in the recipe "
            f"what it is: {{file: {file}, encoding: ...}}."
        )
    shown = excerpt(raw, place, "cp1252")
    return (
        f"It is Windows-1252, it seems, and reads {shown!r}: in a recipe write {{file: {file}, "
        f"encoding: cp1252}} in the place of {file}, or convert it with `iconv -f cp1252 -t utf-8`."
    )


def format_of(path: Path) -> Format:
    """The format that the ending of a file's name stands for."""
    kind = _ENDINGS.get(path.suffix.lower())
    if kind is None and (remedy := _CONVERTED.get(path.suffix.lower())):
        raise RecipeError(f"{path}: {remedy.replace('FILE', str(path))}")
    if kind is None:
        raise RecipeError(
            f"{path}: the ending {path.suffix!r} is not one of {', '.join(_ENDINGS)}. "
            "Rename the file by what is in it."
        )
    return kind


def is_delimited(path: str | Path) -> bool:
    """Whether cells are told apart by separators and quotes; "-" is standard input."""
    return str(path) == "-" or format_of(Path(path)) in ("csv", "tsv")


def format_to_write(path: Path) -> Format:
    """The same of a file that is to be written."""
    kind = format_of(path)
    if kind in ("json", "xlsx"):
        raise RecipeError(
            f"{path}: such files are read, but not written. Let the name end in .csv, .tsv, .jsonl "
            "or .parquet."
        )
    return kind


def check_columns(columns: Sequence[str], name: str) -> None:
    """RecipeError for names that hold a line end, and for names that columns share."""
    for column in columns:
        if "\n" in column or "\r" in column:
            raise RecipeError(f"{name}:1: column {column!r} has a line end in its name. Remove it.")
        if columns.count(column) > 1:
            what = f"named {column!r}" if column else "without a name"
            raise RecipeError(
                f"{name}:1: {columns.count(column)} columns are {what}, in the header "
                f"{list(columns)}. Give every column a name of its own; one may have none."
            )


def without_last_blanks(rows: Iterable[Row | BadRow]) -> Iterator[Row | BadRow]:
    """The rows without the blank ones that end the file."""
    held: list[BadRow] = []
    for row in rows:
        if isinstance(row, BadRow) and row.problem is BLANK:
            held.append(row)
            continue
        yield from held
        held.clear()
        yield row


_ENDINGS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".json": "json",
    ".xlsx": "xlsx",
    ".xlsm": "xlsx",
}
_CONVERTED = {
    ".xls": "is an old Excel workbook. Convert it with `soffice --headless --convert-to xlsx "
    "FILE`, or save the sheet as `CSV UTF-8`.",
    ".ods": "is a workbook of LibreOffice. Convert it with `soffice --headless --convert-to xlsx "
    "FILE`, or save the sheet as CSV.",
    ".gz": "is compressed. Decompress it with `gunzip -k FILE`.",
    ".bz2": "is compressed. Decompress it with `bunzip2 -k FILE`.",
    ".xz": "is compressed. Decompress it with `unxz -k FILE`.",
    ".zst": "is compressed. Decompress it with `unzstd FILE`.",
    ".zip": "is an archive. Unpack it with `unzip FILE`.",
}
"""What is refused with the command that makes a table of it."""
_LINE_BYTES = 64 * 2**20
_WIDE = (
    "UTF-16; write {file: FILE, encoding: utf-16} in a recipe in the place of its name, or convert "
    "it with `iconv -f utf-16 -t utf-8`"
)
_BINARY = {
    b"\x1f\x8b": "gzip; decompress it with `gunzip`",
    b"BZh91AY&SY": "bzip2; decompress it with `bunzip2`",
    b"\xfd7zXZ": "xz; decompress it with `unxz`",
    b"\x28\xb5\x2f\xfd": "zstandard; decompress it with `unzstd`",
    b"PK\x03\x04": "a zip archive or an Excel workbook; unzip it, or save the sheet as CSV UTF-8, "
    "or let its name end in .xlsx",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save the sheet as CSV UTF-8",
    b"PAR1\x15": "Parquet; let its name end in .parquet",
    b"\xff\xfe": _WIDE,
    b"\xfe\xff": _WIDE,
}
