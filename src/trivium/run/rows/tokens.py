"""Word pieces of big tables: made once, in files beside the rows' blocks, or when they are asked
for."""

import hashlib
from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from trivium.parts.tasks import Task
from trivium.run.rows.arrays import Array, Arrays, read_arrays, write_arrays
from trivium.run.rows.shelf import alone_with
from trivium.run.rows.stored import Block, Places, StoredRows
from trivium.run.screen.progress import rows_bar
from trivium.text.cutting import Ids
from trivium.text.tokenizer import Tokenizer

AT_ONCE = 10_000
"""Texts that the tokenizer cuts with all its threads at once."""
WIDE = 2**16
"""Word pieces from which on they take four bytes."""


@dataclass(frozen=True, slots=True)
class MappedTokens:
    """Texts by their number, all firsts, then all seconds; their word pieces lie in files."""

    rows: StoredRows
    files: tuple[Arrays, ...]
    """Of each block."""
    starts: list[int]
    """First row of each block."""

    def several(self, indices: Sequence[int]) -> list[Ids]:
        """Word pieces of these texts."""
        return [self._pieces(index) for index in indices]

    def counts(self, indices: Sequence[int]) -> NDArray[np.int64]:
        """How many each of these texts has."""
        return np.asarray([len(ids) for ids in self.several(indices)], dtype=np.int64)

    def _pieces(self, index: int) -> Ids:
        column, row = divmod(index, len(self.rows))
        at = row if self.rows.place is None else int(self.rows.place[row])
        block = bisect_right(self.starts, at) - 1
        row = at - self.starts[block]
        ids, end = self.files[block][f"ids{column}"], self.files[block][f"end{column}"]
        pieces: Ids = ids[end[row - 1] if row else 0 : end[row]]
        return pieces


@dataclass(frozen=True, slots=True)
class AskedTokens:
    """The same without files: each text is cut when somebody asks, as before training, where few
    of them are looked at."""

    rows: StoredRows
    tokenizer: Tokenizer
    known: dict[int, Ids] = field(default_factory=dict)
    """What was asked for before."""

    def several(self, indices: Sequence[int]) -> list[Ids]:
        """Word pieces of these texts."""
        new = np.asarray([index for index in indices if index not in self.known], dtype=np.int64)
        for first in range(0, len(new), AT_ONCE):
            part = new[first : first + AT_ONCE]
            self.known.update(zip(part.tolist(), self._some(part), strict=True))
        return [self.known[index] for index in indices]

    def counts(self, indices: Sequence[int]) -> NDArray[np.int64]:
        """How many each of these texts has."""
        return np.asarray([len(ids) for ids in self.several(indices)], dtype=np.int64)

    def _some(self, index_B: Places) -> list[Ids]:
        column_B, row_B = np.divmod(index_B, len(self.rows))
        texts = [""] * len(index_B)
        for column in np.unique(column_B).tolist():
            where = np.flatnonzero(column_B == column)
            found = self.rows.texts(column, row_B[where])
            for place, text in zip(where.tolist(), found, strict=True):
                texts[place] = text
        return [np.asarray(ids, dtype=np.int32) for ids in self.tokenizer(texts)]


def mapped_tokens(
    rows: StoredRows, tokenizer: Tokenizer, what: str, console: Console | None
) -> MappedTokens:
    """The word pieces of all texts of the rows' blocks, made where they are not kept.

    what: the task, for the bar. Raises RecipeError where they cannot be written.
    """
    told = f"{version('tokenizers')} {tokenizer.digest}"
    name = hashlib.sha256(told.encode()).hexdigest()[:16]
    paths = [block.file.with_suffix(f".{name}.ids") for block in rows.blocks]
    missing = sum(len(block) for block, path in zip(rows.blocks, paths, strict=True)
                  if not path.is_file())  # fmt: skip
    files = []
    with rows_bar(console) as bars:
        bar = bars.add_task(f"word pieces of {what}", total=max(1, missing))
        for block, path in zip(rows.blocks, paths, strict=True):
            on_done = partial(bars.advance, bar)
            write = partial(_write, path, block, rows.columns, tokenizer, on_done)
            files.append(_kept(path, write))
    starts = np.cumsum([0, *map(len, rows.blocks)])[:-1].tolist()
    return MappedTokens(rows, tuple(files), starts)


def _kept(path: Path, write: Callable[[], object]) -> Arrays:
    """What a file holds, written where it is not there yet: by this process, or by another one
    that is at it."""
    if (found := read_arrays(path)) is not None:
        return found
    with alone_with(path.parent, lambda: None):
        if read_arrays(path) is None:
            write()
    found = read_arrays(path)
    assert found is not None, "it was just written"
    return found


def _write(
    path: Path,
    block: Block,
    columns: int,
    tokenizer: Tokenizer,
    on_done: Callable[[int], object],
) -> None:
    arrays: dict[str, Array] = {}
    narrow = tokenizer.largest < WIDE
    for column in range(columns):
        held, ends = array("H" if narrow else "I"), array("q")
        for first in range(0, len(block), AT_ONCE):
            rows = np.arange(first, min(first + AT_ONCE, len(block)))
            for ids in tokenizer(block.texts(column, rows)):
                held.extend(ids)
                ends.append(len(held))
            on_done(len(rows) if column == 0 else 0)
        arrays[f"ids{column}"] = np.asarray(held, np.uint16 if narrow else np.uint32)
        arrays[f"end{column}"] = np.asarray(ends, np.int64)
    write_arrays(path, arrays, {})


def stored_targets(task: Task, rows: StoredRows) -> Tensor:
    """`task.targets` of all rows; in a file without a name where a row has several."""
    parts = map(task.targets, rows.targets.parts())
    first = next(parts)
    if first.dim() == 1:
        whole = torch.empty(len(rows), dtype=first.dtype)
    else:
        shape = (len(rows), *first.shape[1:])
        with TemporaryFile() as file:  # which lasts as long as it is mapped
            whole = torch.from_numpy(np.memmap(file, first.numpy().dtype, "w+", shape=shape))
    whole[: len(first)] = first
    done = len(first)
    for part in parts:
        whole[done : done + len(part)] = part
        done += len(part)
    return whole
