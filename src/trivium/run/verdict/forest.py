"""Differences with their intervals, drawn with letters: a line each, as in forest plots."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from trivium.run.verdict.facts import OVERALL, Comparison
from trivium.run.verdict.sentences import signed

MOST_LINES = 40
"""More differences than these are not drawn: no screen shows them together."""
MOST_CELLS = 100
FEWEST_CELLS = 32
"""Of a screen; on one that is narrower nothing could be told apart."""
NAMES = 0.4
"""Share of the width that names may take."""


@dataclass(frozen=True, slots=True)
class Glyphs:
    """What is drawn with."""

    first: str = "├"
    line: str = "─"
    last: str = "┤"
    axis: str = "│"
    crossing: str = "┼"
    sure: str = "●"
    alone: str = "◐"
    noise: str = "○"
    cut: str = "…"


ASCII = Glyphs("[", "-", "]", "|", "+", "*", "x", "o", "~")
"""Where a terminal has nothing else."""


@dataclass(frozen=True, slots=True)
class Line:
    """A name, and what is drawn beside it."""

    name: str
    drawn: str
    comparison: Comparison | None = None
    """None of lines that explain the others."""


def ranked(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """System by system, the largest gain first and overall last."""
    places = {
        name: place for place, name in enumerate(dict.fromkeys(c.system for c in comparisons))
    }
    return sorted(comparisons, key=lambda c: (places[c.system], c.task == OVERALL, -c.difference))


def forest(comparisons: Sequence[Comparison], width: int, glyphs: Glyphs) -> list[Line]:
    """Lines of at most `width` cells; none where they are too many, or the screen too narrow."""
    width = min(width, MOST_CELLS)
    if not comparisons or len(comparisons) > MOST_LINES or width < FEWEST_CELLS:
        return []
    is_one = len({c.system for c in comparisons}) == 1
    names = [_plain(c.task if is_one else f"{c.task} {c.system}") for c in comparisons]
    room = min(max(map(cell_len, names)), int(NAMES * width))
    names = [_fitted(name, room, glyphs.cut) for name in names]
    low = min(0.0, *(min(c.low, c.difference) for c in comparisons))
    high = max(0.0, *(max(c.high, c.difference) for c in comparisons))
    scale = Scale(low, high, width - room - 1)
    lines = [
        Line(name, _drawn(one, scale, glyphs), one)
        for name, one in zip(names, comparisons, strict=True)
    ]
    return [*lines, Line(" " * room, _below(scale)), *_legend(comparisons, glyphs)]


@dataclass(frozen=True, slots=True)
class Scale:
    low: float
    high: float
    cells: int

    def place(self, value: float) -> int:
        if self.high <= self.low:
            return self.cells // 2
        return round((value - self.low) / (self.high - self.low) * (self.cells - 1))


def _drawn(one: Comparison, scale: Scale, glyphs: Glyphs) -> str:
    cells = [" "] * scale.cells
    first, last, zero = scale.place(one.low), scale.place(one.high), scale.place(0)
    cells[zero] = glyphs.axis
    for place in range(first, last + 1):
        cells[place] = glyphs.crossing if place == zero else glyphs.line
    cells[first], cells[last] = glyphs.first, glyphs.last
    cells[scale.place(one.difference)] = _dot(one, glyphs)
    return "".join(cells)


def _dot(one: Comparison, glyphs: Glyphs) -> str:
    if one.corrected in ("better", "worse"):
        return glyphs.sure
    return glyphs.alone if one.outcome != one.corrected else glyphs.noise


def _below(scale: Scale) -> str:
    """The ends of the scale, and where 0 is, as far as they do not touch."""
    cells = [" "] * scale.cells
    left, right, zero = signed(scale.low), signed(scale.high), scale.place(0)
    if scale.low < 0:
        cells[: len(left)] = left
    if scale.high > 0:
        cells[-len(right) :] = right
    around = cells[max(0, zero - 1) : zero + 2]
    if all(cell == " " for cell in around):
        cells[zero] = "0"
    return "".join(cells[: scale.cells])


def _legend(comparisons: Sequence[Comparison], glyphs: Glyphs) -> list[Line]:
    dots = {_dot(one, glyphs) for one in comparisons}
    said = {
        glyphs.sure: "beyond noise",
        glyphs.alone: "by its own interval only",
        glyphs.noise: "noise",
    }
    return [Line("", ", ".join(f"{dot} {words}" for dot, words in said.items() if dot in dots))]


def _plain(name: str) -> str:
    """In one line, whatever it holds."""
    return "".join(letter if letter.isprintable() else " " for letter in name)


def _fitted(name: str, room: int, cut: str) -> str:
    if cell_len(name) > room:
        name = set_cell_size(name, room - 1) + cut
    return set_cell_size(name, room)
