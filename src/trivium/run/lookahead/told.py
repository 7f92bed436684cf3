"""The matrix and the groups, on a screen."""

from rich.console import Console
from rich.text import Text

from trivium.run.folder.affinity import Affinity, Grouping
from trivium.run.screen.console import say, warn
from trivium.run.screen.grid import Grid, print_grid

FEW = 10
"""Look-aheads below which intervals are rough."""


def print_affinity(affinity: Affinity, console: Console) -> None:
    """A table with a row per task that takes the step, and a column per task that feels it."""
    grid = Grid("What a step for one task gains each, in % of its loss")
    grid.add_column("step for")
    for task in affinity.tasks:
        grid.add_column(task, justify="right")
    for i, task in enumerate(affinity.tasks):
        grid.add_row(task, *(_cell(affinity, i, j) for j in range(len(affinity.tasks))))
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


def in_words(grouping: Grouping) -> str:
    """The groups of tasks, each on an encoder."""
    return " | ".join(", ".join(group) for group in grouping.groups)


def suggestion(affinity: Affinity) -> str:
    """What follows for whoever trains these tasks."""
    best = affinity.groupings[affinity.suggested]
    if best.encoders == 1:
        return "all tasks on one encoder"
    alone = [group[0] for group in best.groups if len(group) == 1]
    lonely = f"; on their own: {', '.join(alone)}" if alone else ""
    return f"{best.encoders} encoders: {in_words(best)}{lonely}"


def _print_groups(affinity: Affinity, console: Console) -> None:
    grid = Grid("The best grouping on so many encoders")
    for head in ("encoders", "tasks on each", "gain", "harmed by their group"):
        grid.add_column(head, justify="right" if head in ("encoders", "gain") else "left")
    for each in affinity.groupings:
        cells = str(each.encoders), in_words(each), f"{100 * each.gain:+.2f}"
        grid.add_row(*cells, ", ".join(each.harmed) or "none")
    print_grid(grid, console)
    if not affinity.exact:
        say(console, "so many tasks are grouped greedily, by merging two groups at a time")
    say(console, ("suggested", "bold"), f": {suggestion(affinity)}")


def _cell(affinity: Affinity, i: int, j: int) -> Text:
    gain, low, high = (100 * table[i][j] for table in (affinity.gain, affinity.low, affinity.high))
    style = "dim" if i == j else "green" if low > 0 else "red" if high < 0 else ""
    return Text(f"{gain:+.2f}\n{low:+.2f} to {high:+.2f}", style=style)
