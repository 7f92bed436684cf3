"""The matrix and the groups, on a screen, and how sure that is."""

from collections.abc import Sequence

from rich.console import Console
from rich.measure import Measurement
from rich.text import Text

from trivium.run.folder.affinity import Affinity, Grouping
from trivium.run.lookahead.intervals import CHANCE
from trivium.run.screen.console import say, warn
from trivium.run.screen.grid import Grid, print_grid

FEW = 10
"""Look-aheads below which intervals are rough."""
MOST_PAIRS = 20
"""Shown where a screen is too narrow for all."""


def print_affinity(affinity: Affinity, console: Console) -> None:
    grid, wide = _matrix(affinity), console.options.update(width=10_000)
    if console.is_terminal and Measurement.get(console, wide, grid).maximum > console.width:
        grid = _pairs(affinity)
    print_grid(grid, console)
    say(
        console,
        f"+ helps, - harms; green and red where the 95 % interval leaves 0 out; "
        f"{affinity.measurements} look-aheads in {affinity.steps:,} steps",
    )
    if affinity.measurements < FEW:
        warn(
            console,
            f"{affinity.measurements} look-aheads are few for intervals; take more --steps, or a "
            "smaller --every.",
        )
    _print_groups(affinity, console)


def _matrix(affinity: Affinity) -> Grid:
    """A row per task that takes the step, and a column per task that feels it."""
    grid = Grid("What a step for one task gains each, in % of its loss")
    grid.add_column("step for")
    for task in affinity.tasks:
        grid.add_column(task, justify="right")
    for i, task in enumerate(affinity.tasks):
        grid.add_row(task, *(_cell(affinity, i, j) for j in range(len(affinity.tasks))))
    return grid


def _pairs(affinity: Affinity) -> Grid:
    """Where that would not fit the screen: the gains that leave 0 out, the largest first."""
    told = sorted(told_apart(affinity), key=lambda ij: -abs(affinity.gain[ij[0]][ij[1]]))
    grid = Grid("What a step for one task gains another, in % of its loss; affinity.json has all")
    for title in ("step for", "gains", "by", "95 % interval"):
        grid.add_column(title, justify="left" if title in ("step for", "gains") else "right")
    for i, j in told[:MOST_PAIRS]:
        gain, low, high = _percent(affinity, i, j)
        cells = affinity.tasks[i], affinity.tasks[j], f"{gain:+.2f}", f"{low:+.2f} to {high:+.2f}"
        grid.add_row(*cells, style="green" if low > 0 else "red")
    if (left := len(told) - MOST_PAIRS) > 0:
        grid.add_row(f"… {left} more")
    return grid


def told_apart(affinity: Affinity) -> list[tuple[int, int]]:
    """Pairs of tasks, (step for, felt by), whose gain's interval leaves 0 out."""
    count = len(affinity.tasks)
    return [
        (i, j)
        for i in range(count)
        for j in range(count)
        if i != j and (affinity.low[i][j] > 0 or affinity.high[i][j] < 0)
    ]


def how_sure(affinity: Affinity) -> str:
    """What speaks for the suggestion, and against it, in a few sentences."""
    count = len(affinity.tasks)
    others = count * (count - 1)
    told, chance = len(told_apart(affinity)), CHANCE * others
    apart = (
        f"of {others} gains of one task from another {told} can be told from 0 (by chance alone "
        f"{chance:.1f} would)"
    )
    if not told and len(affinity.groups) == 1:
        return f"{apart}: nothing speaks for one encoder but that nothing speaks against it"
    if not affinity.halves:
        return f"{apart}; the look-aheads are too few to be held against one another"
    same = [_as_sets(half) == _as_sets(affinity.groups) for half in affinity.halves]
    if all(same):
        return f"{apart}; either half of the look-aheads suggests the same"
    first, second = (
        "the same"
        if is_same
        else "all tasks on one encoder"
        if len(half) == 1
        else _groups_in_words(half)
        for is_same, half in zip(same, affinity.halves, strict=True)
    )
    return (
        f"{apart}; the first half of the look-aheads suggests {first}, the second half {second}: "
        "with more --steps it may be another one"
    )


def _as_sets(groups: Sequence[Sequence[str]]) -> set[frozenset[str]]:
    return {frozenset(group) for group in groups}


def in_words(grouping: Grouping) -> str:
    """The groups of tasks, each on an encoder."""
    return _groups_in_words(grouping.groups)


def _groups_in_words(groups: Sequence[Sequence[str]]) -> str:
    return " | ".join(", ".join(group) for group in groups)


def suggestion(affinity: Affinity) -> str:
    """What follows for whoever trains these tasks."""
    return _on_encoders(affinity.groups)


def _on_encoders(groups: Sequence[Sequence[str]]) -> str:
    if len(groups) == 1:
        return "all tasks on one encoder"
    alone = [group[0] for group in groups if len(group) == 1]
    lonely = f"; on their own: {', '.join(alone)}" if alone and len(alone) < len(groups) else ""
    return f"{len(groups)} encoders: {_groups_in_words(groups)}{lonely}"


def _print_groups(affinity: Affinity, console: Console) -> None:
    grid = Grid("The best grouping on so many encoders")
    for head in ("encoders", "tasks on each", "gain", "95 % interval", "harmed by their group"):
        right = head in ("encoders", "gain", "95 % interval")
        grid.add_column(head, justify="right" if right else "left")
    for each in affinity.groupings:
        cells = str(each.encoders), in_words(each), f"{100 * each.gain:+.2f}", interval(each)
        grid.add_row(*cells, ", ".join(each.harmed) or "none")
    print_grid(grid, console)
    if not affinity.exact:
        say(console, "so many tasks are grouped greedily, by merging two groups at a time")
    say(console, ("suggested", "bold"), f": {suggestion(affinity)}")
    say(console, ("how sure", "bold"), f": {how_sure(affinity)}")


def interval(grouping: Grouping) -> str:
    """Of a grouping's gain, in percent."""
    if grouping.low is None or grouping.high is None or grouping.low == grouping.high == 0:
        return "–"
    return f"{100 * grouping.low:+.2f} to {100 * grouping.high:+.2f}"


def _cell(affinity: Affinity, i: int, j: int) -> Text:
    gain, low, high = _percent(affinity, i, j)
    style = "dim" if i == j else "green" if low > 0 else "red" if high < 0 else ""
    return Text(f"{gain:+.2f}\n{low:+.2f} to {high:+.2f}", style=style)


def _percent(affinity: Affinity, i: int, j: int) -> tuple[float, float, float]:
    """A gain with both ends of its interval."""
    return 100 * affinity.gain[i][j], 100 * affinity.low[i][j], 100 * affinity.high[i][j]
