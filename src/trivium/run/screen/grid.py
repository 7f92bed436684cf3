"""Tables for people."""

import os
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from trivium.run.screen.console import plain_console
from trivium.run.screen.harmless import harmless, harmless_text

MINILM = (
    "The packaged encoder's (minilm) own training data included Quora question pairs (QQP) and "
    "NLI: scores on such tasks are not those of an encoder that never saw them."
)


class Grid(Table):
    """A table on a screen, whose title, heads and cells are what they are: no markup, no emoji."""

    def __init__(self, title: str = "") -> None:
        shown = Text(harmless(title), style="table.title") if title else None
        super().__init__(title=shown, title_justify="left")

    def add_column(
        self, header: RenderableType = "", footer: RenderableType = "", **settings: Any
    ) -> None:
        # What is too long is broken anywhere: else some of it would not be shown at all.
        super().add_column(_plain(header), _plain(footer), **{"overflow": "fold", **settings})

    def add_row(self, *cells: RenderableType | None, **settings: Any) -> None:
        super().add_row(*map(_plain, cells), **settings)


def _plain(cell: Any) -> Any:
    return harmless_text(cell) if isinstance(cell, str | Text) else cell


def print_grid(grid: Table, console: Console) -> None:
    """A table; in a file, which has no edge, as wide as it needs to be."""
    if not console.is_terminal and not console.quiet:
        width = Measurement.get(console, console.options.update(width=10_000), grid).maximum
        console = plain_console(console.file, width)
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
