"""A console with, on a terminal, a live part below what is printed."""

from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live


class Screen:
    """Prints lines; while entered, and only on a terminal, shows `present` below them."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live: Live | None = None

    def present(self) -> RenderableType:
        """What to show now; asked for twice a second."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live = Live(
                console=self.console, get_renderable=self.present, refresh_per_second=2,
                transient=True,
            )  # fmt: skip
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

    def say(self, line: str) -> None:
        self.console.print(line, soft_wrap=not self.console.is_terminal, highlight=False)


def clock(seconds: float) -> str:
    """h:mm:ss"""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
