"""A console with, on a terminal or in a notebook, a live part below what is printed."""

import time
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live

from trivium.run.screen.console import is_page, say
from trivium.run.screen.harmless import Part, harmless_text
from trivium.run.screen.notebook import Page


class Screen(ABC):
    """Prints lines; while entered, and only on a terminal or in a notebook, shows `present` below
    them.

    per_second: how often. stays: whether the last view stays when the block ends; in a notebook it
    does.
    """

    def __init__(self, console: Console, *, per_second: float = 2, stays: bool = False) -> None:
        self.console = console
        self._per_second, self._stays = per_second, stays
        self._live: Live | None = None
        self._page: Page | None = None
        self._shown = 0.0

    @abstractmethod
    def present(self) -> RenderableType:
        """What to show now."""

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live = Live(
                console=self.console,
                get_renderable=self.present,
                refresh_per_second=self._per_second,
                transient=not self._stays,
            )
            self._live.start()
        elif is_page(self.console):
            self._page = Page()
            self._page.show(self.present())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()
        if self._page:
            self._page.show(self.present())

    @property
    def is_live(self) -> bool:
        return self._live is not None or self._page is not None

    def refresh(self) -> None:
        """Something changed: told where nothing looks at it by itself, as in a notebook."""
        now = time.monotonic()
        if self._page and now - self._shown >= 1 / self._per_second:
            self._shown = now
            self._page.show(self.present())

    def say(self, *parts: Part, style: str = "") -> None:
        if self._page:
            self._page.say(harmless_text(*parts, style=style))
            self.refresh()
            return
        # A longer line than the terminal's would be counted as one, and the live part misplaced.
        say(self.console, *parts, style=style, wraps=self.console.is_terminal)


def clock(seconds: float) -> str:
    """h:mm:ss"""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
