"""A file of lines cut into parts that can be read apart, each with whole records."""

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from trivium.text.encodings import UTF_16

_AT_ONCE = 2**20


@dataclass(frozen=True, slots=True)
class Part:
    """Whole records of a file of lines, from one byte to another."""

    first: int
    last: int
    """The byte after its last one."""
    line: int
    """Its first line, counted from 1."""


class TornError(ValueError):
    """A part ends within a quoted cell: the quotes of the file are not what they seemed to be."""


def cut_file(path: Path, size: int, *, quoted: bool) -> list[Part]:
    """Parts of at least `size` bytes that end with a line; the first holds the header.

    quoted: a line end within quotes ends nothing. Quotes are only counted for that, so where
    ordinary texts hold some, a part may end within a cell: whoever reads it finds that it does,
    and then knows that all parts before it were whole.
    """
    with path.open("rb") as file:
        if file.read(2) in UTF_16:
            return [Part(0, path.stat().st_size, 1)]
        file.seek(0)
        parts: list[Part] = []
        counter = _Counter(file)
        while True:
            first, line = counter.at, 1 + counter.lines
            while counter.at - first < size and counter.read(min(_AT_ONCE, size)):
                pass
            while (rest := counter.read(None)) and not (
                rest.endswith(b"\n") and not (quoted and counter.quotes % 2)
            ):
                pass
            if counter.at == first:
                return parts
            parts.append(Part(first, counter.at, line))


@dataclass
class _Counter:
    """Reads a file, and knows how far."""

    file: BinaryIO
    at: int = 0
    lines: int = 0
    quotes: int = 0

    def read(self, size: int | None) -> bytes:
        """So many bytes; None: to the end of a line."""
        block = self.file.readline(_AT_ONCE) if size is None else self.file.read(size)
        self.at += len(block)
        self.lines += block.count(b"\n")
        self.quotes += block.count(b'"')
        return block
