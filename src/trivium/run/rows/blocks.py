"""A part of a big table as arrays in a file: texts, label cells and lines of its rows, and what is
wrong with those that cannot be used.

What a label cell means to the task is left open: labels may be known only when all is read.
"""

import hashlib
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trivium.parts.tasks import MissingLabelError, RowError, Source, Task
from trivium.run.rows.arrays import Array, write_arrays
from trivium.run.rows.chosen import Chosen
from trivium.run.rows.drawing import Candidate, key_of, place_of
from trivium.run.rows.places import opened
from trivium.run.rows.relabel import Heard, in_words
from trivium.text.lines import BLANK
from trivium.text.parts import Part
from trivium.text.tables import BadRow
from trivium.types import Row

_AT_ONCE = 4096
"""Rows whose texts are put into the arrays together."""


@dataclass(frozen=True, slots=True)
class Job:
    """A part of a file that is to be read for a task."""

    task: Task
    path: Path
    source: Source
    part: Part
    target: Path
    """The file to write."""
    drawn: bool = False
    """Whether other splits are drawn from its rows, by their places."""


def needed_columns(task: Task, source: Source) -> tuple[str, ...]:
    """Columns that the file must have."""
    return *task.text_columns, task.label, *source.where


def read_block(job: Job) -> int:
    """Write the block of a part; its rows. Raises TornError (see `Table.within`), and RecipeError
    where the file itself is broken."""
    task, source = job.task, job.source
    table = opened(task, job.path, needed_columns(task, source), source)
    chosen, heard = Chosen(table.within(job.part), source.where), Heard()
    block = _Block(task, drawn=job.drawn)
    # Where all rows are meant, nobody need look at each.
    rows = chosen if source.where else chosen.table
    for row in in_words(task, rows, source.relabel, heard):
        block.add(row)
    block.flush()
    facts = {
        "asked": sorted(heard.asked),
        "stood": sorted(heard.stood),
        "elsewhere": chosen.left_out,
        "last": job.part.last,
    }
    write_arrays(job.target, block.arrays(), block.facts() | facts)
    return len(block.lines)


@dataclass
class _Block:
    task: Task
    drawn: bool
    waiting: list[tuple[str, ...]] = field(default_factory=list)
    """Texts of rows that are not yet in the arrays."""
    texts: list[bytearray] = field(default_factory=list)
    lengths: list["array[int]"] = field(default_factory=list)
    codes: "array[int]" = field(default_factory=lambda: array("i"))
    lines: "array[int]" = field(default_factory=lambda: array("q"))
    twins: bytearray = field(default_factory=bytearray)
    characters: "array[int]" = field(default_factory=lambda: array("q"))
    places: "array[int]" = field(default_factory=lambda: array("Q"))
    cells: dict[str, int] = field(default_factory=dict)
    """Every label cell that stood in a row, in whichever -> its number."""
    empty: list[bool] = field(default_factory=list)
    """Of every label cell whether it says nothing."""
    bad: list[tuple[int, str, bool]] = field(default_factory=list)
    """Line, problem, and whether the file was not to blame, but what the task wants."""
    blanks: list[int] = field(default_factory=list)
    """Lines of the last blank rows: they may be the end of the file."""
    unlabelled: int = 0

    def __post_init__(self) -> None:
        self.texts = [bytearray() for _ in self.task.text_columns]
        self.lengths = [array("q") for _ in self.task.text_columns]

    def add(self, row: Row | BadRow) -> None:
        if isinstance(row, BadRow):
            self._add_bad(row)
            return
        if self.blanks:
            self._blanks_are_bad()
        cell = row.cells[self.task.label]
        code = self.cells.get(cell)
        if code is None:
            code = self.cells[cell] = len(self.cells)
            self.empty.append(self.task.lacks_label(cell))
        try:
            if self.empty[code]:
                self.task.example(row)  # which says so
            self.waiting.append(self.task.texts_of(row))
        except MissingLabelError:
            self.unlabelled += 1
            return
        except RowError as error:
            self.bad.append((row.line, str(error), True))
            return
        self.codes.append(code)
        self.lines.append(row.line)
        if len(self.waiting) == _AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Put the texts that wait into the arrays."""
        columns = [[text.encode() for text in column] for column in zip(*self.waiting, strict=True)]
        for held, lengths, raw in zip(self.texts, self.lengths, columns, strict=False):
            held += b"".join(raw)
            lengths.extend(map(len, raw))
        self.twins += b"".join(map(digest_of, zip(*columns, strict=True)))
        self.characters.extend([sum(map(len, texts)) for texts in self.waiting])
        if self.drawn:
            self.places.extend([place_of(key_of(Candidate(texts))) for texts in self.waiting])
        self.waiting.clear()

    def _add_bad(self, row: BadRow) -> None:
        if row.problem is BLANK:
            self.blanks.append(row.line)
            return
        self._blanks_are_bad()
        self.bad.append((row.line, row.problem, False))

    def _blanks_are_bad(self) -> None:
        self.bad += [(line, BLANK, False) for line in self.blanks]
        self.blanks.clear()

    def arrays(self) -> dict[str, Array]:
        found: dict[str, Array] = {
            "code": np.asarray(self.codes, np.int32),
            "line": np.asarray(self.lines, np.int64),
            "twin": np.frombuffer(bytes(self.twins), np.uint64),
            "characters": np.asarray(self.characters, np.uint32),
        }
        for place, (held, lengths) in enumerate(zip(self.texts, self.lengths, strict=True)):
            found[f"text{place}"] = np.frombuffer(held, np.uint8)
            found[f"end{place}"] = np.cumsum(lengths, dtype=np.int64)
        return found | ({"place": np.asarray(self.places, np.uint64)} if self.drawn else {})

    def facts(self) -> dict[str, Any]:
        return {
            "cells": list(self.cells),
            "bad": self.bad,
            "blanks": self.blanks,
            "unlabelled": self.unlabelled,
        }


def digest_of(texts: Sequence[bytes]) -> bytes:
    """8 bytes that tell a row's texts, in their order, from others; by chance two of 10^7 rows
    share them once in 400,000 such tables."""
    digest = hashlib.blake2b(digest_size=8)
    for text in texts:
        digest.update(len(text).to_bytes(8, "little"))
        digest.update(text)
    return digest.digest()


def digests_of(rows: Iterable[tuple[str, ...]]) -> Array:
    """The same of many rows."""
    found = b"".join(digest_of([text.encode() for text in texts]) for texts in rows)
    return np.frombuffer(found, np.uint64)
