"""Tables for people."""

import os
from collections.abc import Collection, Iterable, Sequence

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as Grid

MINILM = (
    "The packaged encoder's (minilm) own training data included Quora question pairs (QQP) and "
    "NLI: scores on such tasks are not those of an encoder that never saw them."
)


def print_grid(grid: Grid, console: Console) -> None:
    """A table; in a file, which has no edge, as wide as it needs to be."""
    if not console.is_terminal:
        width = Measurement.get(console, console.options.update(width=10_000), grid).maximum
        console = Console(file=console.file, width=width)
    console.print(grid)


def markdown_table(
    head: Sequence[str], rows: Iterable[Sequence[str]], left: Collection[int] = (0,)
) -> str:
    """A table in GitHub's Markdown. left: places of the columns that begin at the left edge, as
    words do; numbers end at the right one."""
    rule = [":--" if place in left else "--:" for place in range(len(head))]
    # A bar would begin another cell.
    lines = [[cell.replace("|", "\\|") for cell in line] for line in (head, rule, *rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def short_names(names: Sequence[str]) -> list[str]:
    """Folders without the part of their path that all have in common, for tables."""
    try:
        home = os.path.commonpath(names)
    except ValueError:  # some are absolute, others not
        return list(names)
    short = [os.path.relpath(name, home) for name in names]
    return list(names) if "." in short else short
