"""What is seen in a notebook: one display that is updated in its place, and plain lines beside it.

A notebook's standard error is no terminal: bars could not be drawn on it, and every line that a
library prints by itself becomes an output of its own.
"""

import sys
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from trivium.run.screen.console import in_both_forms

LINES = 20
"""Of those said above the live part, the last ones."""


class Page:
    """The display of a live part, with what was said meanwhile above it."""

    def __init__(self) -> None:
        self._said: list[Text] = []
        self._count = 0
        self._handle: Any = None

    def say(self, line: Text) -> None:
        self._count += 1
        self._said = [*self._said, line][-LINES:]

    def show(self, present: RenderableType) -> None:
        """Shown first, or in the place of what was shown before."""
        content = in_both_forms(self._lines(present))
        if self._handle is None:
            display = sys.modules["IPython"].display.display
            self._handle = display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)

    def _lines(self, present: RenderableType) -> Group:
        more = self._count - len(self._said)
        first = [Text(f"({more:,} earlier lines)", style="dim")] if more else []
        return Group(*first, *self._said, present)
