"""Rows of a big table as sequences: they stay in mapped files, and are made when they are asked
for."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from trivium.run.rows.arrays import Array, Arrays
from trivium.types import Example, Target

Places = NDArray[np.int64]
AT_ONCE = 50_000
"""Rows of which Python objects are held at once where all are gone through."""


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a table's rows."""

    file: Path
    held: Arrays
    value_C: Array
    """What each label cell means, by its number: whole numbers, or scores; where several labels
    may apply, numbers of `tuples`."""
    tuples: tuple[tuple[int, ...], ...] = ()

    def __len__(self) -> int:
        return len(self.held["code"])

    def targets(self, rows: Places | slice) -> list[Target]:
        values = self.value_C[self.held["code"][rows]].tolist()
        return [self.tuples[value] for value in values] if self.tuples else values

    def texts(self, column: int, rows: Places) -> list[str]:
        text, end = self.held[f"text{column}"], self.held[f"end{column}"]
        last = end[rows]
        first = np.where(rows > 0, end[rows - 1], 0)
        return [
            text[a:b].tobytes().decode() for a, b in zip(first.tolist(), last.tolist(), strict=True)
        ]


@dataclass(frozen=True, eq=False)
class StoredRows(Sequence[Example]):
    """Examples of some blocks, or of some of their rows."""

    blocks: tuple[Block, ...]
    columns: int
    """Texts of a row."""
    key: str
    """Tells them from all others."""
    place: Places | None = None
    """Which of the blocks' rows, where not all."""

    def __len__(self) -> int:
        return int(self._start[-1]) if self.place is None else len(self.place)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        if isinstance(index, slice):
            return self.examples(np.arange(len(self))[index])
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self.examples(np.asarray([index % len(self)]))[0]

    def __iter__(self) -> Iterator[Example]:
        for first in range(0, len(self), AT_ONCE):
            yield from self.examples(np.arange(first, min(first + AT_ONCE, len(self))))

    def examples(self, rows: Places) -> list[Example]:
        """These rows, in the order of the numbers."""
        found: list[Example | None] = [None] * len(rows)
        for block, within, where in self.by_block(rows):
            texts = [block.texts(column, within) for column in range(self.columns)]
            told = zip(
                where.tolist(), zip(*texts, strict=True), block.targets(within),
                block.held["line"][within].tolist(), strict=True,
            )  # fmt: skip
            for place, each, target, line in told:
                found[place] = Example(each, target, line)
        return [one for one in found if one is not None]

    def texts(self, column: int, rows: Places) -> list[str]:
        """One text of each of these rows."""
        found = [""] * len(rows)
        for block, within, where in self.by_block(rows):
            for place, text in zip(where.tolist(), block.texts(column, within), strict=True):
                found[place] = text
        return found

    def by_block(self, rows: Places) -> Iterator[tuple[Block, Places, Places]]:
        """Rows as rows of blocks: the block, numbers in it, and places in `rows`."""
        at = rows if self.place is None else self.place[rows]
        number = np.searchsorted(self._start, at, side="right") - 1
        for block in np.flatnonzero(np.bincount(number)).tolist():
            where = np.flatnonzero(number == block)
            yield self.blocks[block], at[where] - self._start[block], where

    def run_of(self, rows: Places) -> tuple[Block, slice] | None:
        """Rows that follow one another as those of one block; None where they are not."""
        if self.place is not None:
            return None
        block = int(np.searchsorted(self._start, rows[0], side="right")) - 1
        first, end = int(rows[0] - self._start[block]), int(rows[-1] - self._start[block]) + 1
        return (self.blocks[block], slice(first, end)) if end <= len(self.blocks[block]) else None

    def column(self, name: str) -> Array:
        """An array of the blocks, for all rows: in memory."""
        whole = np.concatenate([block.held[name] for block in self.blocks])
        return whole if self.place is None else whole[self.place]

    def twins(self) -> NDArray[np.uint64]:
        """Of every row what tells its texts from others, sorted."""
        found = self.column("twin")
        found.sort()  # of as much memory again, that numpy's set operations would ask for more
        return found

    def pick(self, rows: Places, why: str) -> "StoredRows":
        """Some of the rows, by rising numbers. why: told in the key."""
        place = rows if self.place is None else self.place[rows]
        digest = hashlib.sha256(f"{self.key} {why} {len(place)}".encode())
        digest.update(np.ascontiguousarray(place).tobytes())
        return replace(self, key=digest.hexdigest(), place=place)

    @property
    def targets(self) -> "StoredTargets":
        return StoredTargets(self)

    @cached_property
    def _start(self) -> Places:
        """Of each block its first row, and the number of all."""
        return np.cumsum([0, *map(len, self.blocks)])


@dataclass(frozen=True, slots=True, eq=False)
class StoredTargets(Sequence[Target]):
    """What stored rows teach."""

    rows: StoredRows

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Target: ...
    @overload
    def __getitem__(self, index: slice) -> list[Target]: ...
    def __getitem__(self, index: int | slice) -> Target | list[Target]:
        if isinstance(index, slice):
            return [self.rows[place].target for place in range(*index.indices(len(self)))]  # type: ignore[misc]
        target = self.rows[index].target
        assert target is not None, "stored rows have labels"
        return target

    def __iter__(self) -> Iterator[Target]:
        for part in self.parts():
            yield from part

    def parts(self) -> Iterator[list[Target]]:
        """All of them, so many at once, in order."""
        for first in range(0, len(self), AT_ONCE):
            rows = np.arange(first, min(first + AT_ONCE, len(self)))
            if (one := self.rows.run_of(rows)) is not None:
                yield one[0].targets(one[1])
                continue
            found: list[Target] = [0] * len(rows)
            for block, within, where in self.rows.by_block(rows):
                for place, target in zip(where.tolist(), block.targets(within), strict=True):
                    found[place] = target
            yield found


def joined(parts: Sequence[StoredRows]) -> StoredRows:
    """The rows of several tables, one after another."""
    if len(parts) == 1:
        return parts[0]
    blocks = tuple(block for part in parts for block in part.blocks)
    key = hashlib.sha256(" ".join(part.key for part in parts).encode()).hexdigest()
    found = StoredRows(blocks, parts[0].columns, key)
    if all(part.place is None for part in parts):
        return found
    places, before = [], 0
    for part in parts:
        whole = sum(map(len, part.blocks))
        own = np.arange(whole) if part.place is None else part.place
        places.append(own + before)
        before += whole
    return replace(found, place=np.concatenate(places))
