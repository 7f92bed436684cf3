"""Big tables as a task's rows: what their label cells mean, which rows cannot be used, and which
are drawn for dev and test."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trivium.parts.tasks import Labelled, RowError, Source, Task
from trivium.run.rows.arrays import Array, Arrays
from trivium.run.rows.big import Stored
from trivium.run.rows.dealing import file_of, told_drawn
from trivium.run.rows.drawing import PLACES, Held, refuse_empty
from trivium.run.rows.refusals import after_relabel, refuse_bad_rows
from trivium.run.rows.relabel import Heard, refuse_unheard
from trivium.run.rows.sample import sample_places
from trivium.run.rows.splits import TRAIN, FileRows, Split
from trivium.run.rows.stored import Block, Places, StoredRows, joined
from trivium.text.lines import BLANK
from trivium.text.tables import BadRow
from trivium.types import Target

SIDES = (TRAIN, "dev", "test")

_Read = tuple[Source, StoredRows, FileRows]


def cells_of(task: Task, stored: Sequence[Stored]) -> list[str]:
    """What stands in the label columns, each once. Raises RecipeError for rows that cannot be read
    at all, unless they are to be skipped."""
    for one in stored:
        _refuse_unheard(task, one)
        refuse_bad_rows(task, TRAIN, one.table, [row for row, own in _bad(one) if not own])
    return list(dict.fromkeys(cell for one in stored for _, held in one.blocks
                              for cell in held.facts["cells"]))  # fmt: skip


def splits_of(
    task: Task, stored: Sequence[Stored], held: Held, wanted: Sequence[str]
) -> dict[str, Split]:
    """A task's training rows, and with `held` those splits that are drawn from them. Raises
    RecipeError naming bad rows by file and line."""
    read = [(one.source, *_rows(task, one)) for one in stored]
    if not held:
        return {TRAIN: _all(read)}
    side = _sides(read, held)
    counts = {name: int((side == number).sum()) for number, name in enumerate(SIDES)}
    where = ", ".join(one.table.name for one in stored)
    refuse_empty(counts, held, f"task {task.name!r}: {where}")
    return {split: _dealt(split, read, side, held) for split in wanted}


# --- what label cells mean -----------------------------------------------------------------------


def _rows(task: Task, stored: Stored) -> tuple[StoredRows, FileRows]:
    """All of one file's rows that can be used."""
    _refuse_unheard(task, stored)
    meanings = _Meanings(task)
    blocks = [meanings.block(file, held) for file, held in stored.blocks]
    bad = [row for row, _ in _bad(stored)]
    bad += [BadRow(line, after_relabel(problem, stored.source.relabel))
            for line, problem in meanings.bad]  # fmt: skip
    bad.sort(key=lambda row: row.line)
    refuse_bad_rows(task, TRAIN, stored.table, bad)
    rows = StoredRows(tuple(blocks), len(task.text_columns), stored.key)
    if meanings.bad:
        rows = rows.pick(np.concatenate(meanings.good), "without bad rows")
    facts = [held.facts for _, held in stored.blocks]
    file = FileRows(
        stored.table,
        len(rows),
        sum(each["unlabelled"] for each in facts),
        bad,
        respelt=task.respelt(meanings.known) if isinstance(task, Labelled) else {},
        elsewhere=sum(each["elsewhere"] for each in facts),
    )
    return rows, file


@dataclass
class _Meanings:
    """What the label cells of one block after another mean to a task."""

    task: Task
    known: dict[str, Target] = field(default_factory=dict)
    """Of tasks with labels: cells of rows that can be used, and their targets."""
    bad: list[tuple[int, str]] = field(default_factory=list)
    """Line and problem of rows with cells that mean nothing."""
    good: list[Places] = field(default_factory=list)
    """Of every block the other rows, as rows of all blocks."""
    before: int = 0
    """Rows of the blocks before."""

    def block(self, file: Path, held: Arrays) -> Block:
        code, cells = held["code"], held.facts["cells"]
        targets: list[Target] = [0] * len(cells)
        wrong: dict[int, str] = {}
        for number in np.unique(code).tolist():
            try:
                targets[number] = self._target(cells[number])
            except RowError as error:
                wrong[number] = str(error)
        is_wrong = np.isin(code, list(wrong))
        lines, codes = held["line"][is_wrong].tolist(), code[is_wrong].tolist()
        self.bad += [(line, wrong[number]) for line, number in zip(lines, codes, strict=True)]
        self.good.append(self.before + np.flatnonzero(~is_wrong))
        self.before += len(code)
        tuples = tuple(each if isinstance(each, tuple) else () for each in targets)
        if any(isinstance(each, tuple) for each in targets):
            return Block(file, held, np.arange(len(tuples)), tuples)
        return Block(file, held, np.asarray(targets))

    def _target(self, cell: str) -> Target:
        if not isinstance(self.task, Labelled):
            return self.task.target(cell)
        if cell not in self.known:
            self.known[cell] = self.task.target(cell)
        return self.known[cell]


def _refuse_unheard(task: Task, stored: Stored) -> None:
    heard = Heard()
    for _, held in stored.blocks:
        heard.asked.update(held.facts["asked"])
        heard.stood.update(held.facts["stood"])
    where = f"{TRAIN}: {stored.table.name}"
    refuse_unheard(task, where, stored.source.relabel, heard)


def _bad(stored: Stored) -> Iterator[tuple[BadRow, bool]]:
    """Rows that cannot be used whatever labels mean, and whether it is the task that cannot use
    them. Blank ones that end the file are none."""
    blanks: list[int] = []
    for _, held in stored.blocks:
        facts = held.facts
        if len(held["code"]) or facts["bad"] or facts["unlabelled"] or facts["elsewhere"]:
            yield from ((BadRow(line, BLANK), False) for line in blanks)
            blanks = []
        for line, problem, own in facts["bad"]:
            said = after_relabel(problem, stored.source.relabel) if own else problem
            yield BadRow(line, said), own
        blanks += facts["blanks"]


# --- which rows are used -------------------------------------------------------------------------


def _all(read: Sequence[_Read]) -> Split:
    """The rows of all files, or a sample of those that want one."""
    files, parts = [], []
    for source, rows, file in read:
        kept = sample_places(len(rows), source.rows)
        parts.append(rows if kept is None else rows.pick(kept, "sample"))
        files.append(file if kept is None else replace(file, drawn=len(kept)))
    return Split(TRAIN, tuple(files), joined(parts))


def _sides(read: Sequence[_Read], held: Held) -> NDArray[np.int8]:
    """Of every row the number of its split in `SIDES`, by the place of its text."""
    place = np.concatenate([rows.column("place") for _, rows, _ in read]) / PLACES
    side = np.zeros(len(place), np.int8)
    if "dev" in held:
        side[place < held["dev"].share] = SIDES.index("dev")
    if "test" in held:  # test first: what it takes is never dev's
        side[1 - place < held["test"].share] = SIDES.index("test")
    return side


def _dealt(split: str, read: Sequence[_Read], side: NDArray[np.int8], held: Held) -> Split:
    """See `dealing.dealt`, which does the same in memory."""
    is_own, first = side == SIDES.index(split), 0
    files, kept = [], []
    twins = _twins(np.concatenate([rows.column("place") for _, rows, _ in read])[is_own])
    for source, rows, file in read:
        own = np.flatnonzero(is_own[first : first + len(rows)])
        first += len(rows)
        most = sample_places(len(own), source.rows if split == TRAIN else None)
        kept.append(own if most is None else own[most])
        files.append(file_of(file, split, len(own), len(kept[-1])))
    if (
        split in held
        and (drawn := sample_places(sum(map(len, kept)), held[split].rows)) is not None
    ):
        ends = np.cumsum([0, *map(len, kept)])
        drawn_of = [drawn[(a <= drawn) & (drawn < b)] - a for a, b in pairwise(ends.tolist())]
        kept = [own[chosen] for own, chosen in zip(kept, drawn_of, strict=True)]
        files = [replace(file, drawn=len(own)) for file, own in zip(files, kept, strict=True)]
    examples = joined([rows.pick(own, split) for (_, rows, _), own in zip(read, kept, strict=True)])
    told = told_drawn(split, (int(is_own.sum()), len(side), twins), held)
    return Split(split, tuple(files), examples, drawn=told)


def _twins(place: Array) -> int:
    """Rows whose place is another's too."""
    place.sort()
    is_twin, same = np.zeros(len(place), bool), place[1:] == place[:-1]
    is_twin[1:] |= same
    is_twin[:-1] |= same
    return int(np.count_nonzero(is_twin))
