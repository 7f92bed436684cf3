"""Tables on screens that are too narrow for them: columns are left out, numbers never broken."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from rich.cells import cell_len

NARROWEST = 10
"""Cells that a column of words needs at least: what is longer goes on in the next line."""
BESIDE = 3
"""Cells of a column that hold nothing: its borders."""


@dataclass(frozen=True, slots=True)
class Table:
    """A verdict's table, for a screen and for a file."""

    title: str
    head: list[str]
    cells: list[list[str]]
    words: int
    """Columns of words, on the left."""
    styles: list[str]
    """Of each row, on a screen."""
    spare: Sequence[str] = field(default_factory=tuple)
    """Heads of what can be done without, first what is missed least."""


def fitted(table: Table, width: int) -> tuple[Table, list[str]]:
    """The table with as many of its columns as fit, and the heads of those left out."""
    left_out: list[str] = []
    for head in table.spare:
        if least_width(table) <= width:
            break
        if head in table.head:
            left_out.append(head)
            table = _without(table, table.head.index(head))
    return table, left_out


def least_width(table: Table) -> int:
    """Cells that it needs, if words may be broken and numbers not."""
    total = 1
    for place, head in enumerate(table.head):
        longest = max(cell_len(text) for text in [head, *(row[place] for row in table.cells)])
        total += BESIDE + (min(longest, NARROWEST) if place < table.words else longest)
    return total


def _without(table: Table, place: int) -> Table:
    def rest(row: list[str]) -> list[str]:
        return row[:place] + row[place + 1 :]

    words = table.words - (place < table.words)
    return replace(table, head=rest(table.head), cells=[*map(rest, table.cells)], words=words)
