"""A console with, on a terminal, a live part below what is printed."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live

from trivium.run.screen.console import Part, say


class Screen(ABC):
    """Prints lines; while entered, and only on a terminal, shows `present` below them.

    per_second: how often. stays: whether the last view stays when the block ends.
    """

    def __init__(self, console: Console, *, per_second: float = 2, stays: bool = False) -> None:
        self.console = console
        self._per_second, self._stays = per_second, stays
        self._live: Live | None = None

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
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()

    @property
    def is_live(self) -> bool:
        return self._live is not None

    def say(self, *parts: Part, style: str = "") -> None:
        # A longer line than the terminal's would be counted as one, and the live part misplaced.
        say(self.console, *parts, style=style, wraps=self.console.is_terminal)


def clock(seconds: float) -> str:
    """h:mm:ss"""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
