"""What a person sees while training runs: live bars on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console, Group
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from trivium.run.screen.console import heard_on
from trivium.run.screen.live import Screen, clock

PLAIN_EVERY_S = 10.0
SMOOTHING = 0.98
"""Weight of the past in the shown loss."""

OnProgress = Callable[[int], object]
"""Called with how many rows, resamples or mixtures were done since the last call; that of
`counting`, since the start."""


def silent(_done: int) -> None:
    """Progress that nobody watches."""


class Monitor(Screen):
    """Speed, losses and scores of one stage."""

    def __init__(
        self, console: Console, stage: str, tasks: Sequence[str], total: int, done: int
    ) -> None:
        super().__init__(console, per_second=4, stays=True)
        self.stage, self.tasks, self.total = stage, list(tasks), total
        self._losses: dict[str, float] = {}
        self._scores: dict[str, str] = {}
        self._skipped: dict[str, int] = {}
        self._start = self._told = time.monotonic()
        self._first = self._done = done
        self._rows = self._tokens = 0
        self._bars = Progress(
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}", markup=False),
            TextColumn("ETA", markup=False),
            TimeRemainingColumn(),
            console=console,
        )
        self._bar = self._bars.add_task(stage, total=total, completed=done)

    def present(self) -> Group:
        """The bar, and below it what may need more than one line."""
        return Group(self._bars, Text(self._facts(time.monotonic()), style="dim"))

    def step(
        self,
        losses: Mapping[str, float],
        rows: int,
        tokens: int,
        skipped: Mapping[str, int] | None = None,
    ) -> None:
        """One optimizer step is done. skipped: penalties left out so far, by regularizer."""
        self._done += 1
        self._skipped = dict(skipped or {})
        self._rows += rows
        self._tokens += tokens
        for task, loss in losses.items():
            past = self._losses.get(task, loss)
            self._losses[task] = SMOOTHING * past + (1 - SMOOTHING) * loss
        now = time.monotonic()
        if self.is_live:
            self._bars.update(self._bar, completed=self._done)
            self.refresh()
        elif now - self._told > PLAIN_EVERY_S or self._done == self.total:
            self._told = now
            self.say(
                f"{self.stage} {self._done}/{self.total} · {self._facts(now)} "
                f"· ETA {self._eta(now)}"
            )

    def evaluation(
        self, scores: Mapping[str, tuple[str, float]], note: str, verdict: str, *, kept: bool
    ) -> None:
        """Dev scores of every task: task -> (metric, value); and what became of the model."""
        self._scores = {task: f"{value:.4f}" for task, (_, value) in scores.items()}
        mark = (verdict, "green") if kept else verdict
        self.say(f"step {self._done} dev: {_shown(scores)} · {note} · ", mark)

    def seen(self, scores: Mapping[str, tuple[str, float]]) -> None:
        """Scores on training rows, if there are any: task -> (metric, value)."""
        if scores:
            self.say(f"step {self._done} training rows: {_shown(scores)}", style="dim")

    def _facts(self, now: float) -> str:
        seconds = max(now - self._start, 1e-9)
        losses = " · ".join(self._task_facts(task) for task in self.tasks if task in self._losses)
        skipped = "".join(
            f" · {count:,} {kind} penalties not finite, skipped"
            for kind, count in self._skipped.items()
            if count
        )
        return (
            f"{losses} · {self._rows / seconds:,.0f} rows/s · "
            f"{self._tokens / seconds:,.0f} tokens/s{skipped}"
        )

    def _task_facts(self, task: str) -> str:
        score = f" dev {self._scores[task]}" if task in self._scores else ""
        return f"{task} loss {self._losses[task]:.3f}{score}"

    def _eta(self, now: float) -> str:
        step_s = (now - self._start) / max(1, self._done - self._first)
        return clock(step_s * (self.total - self._done))


def _shown(scores: Mapping[str, tuple[str, float]]) -> str:
    return " · ".join(f"{task} {metric} {value:.4f}" for task, (metric, value) in scores.items())


def rows_bar(console: Console | None, unit: str = "rows") -> Progress:
    """A bar that counts answered rows, with an ETA; nothing where there is no terminal."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{unit} · ETA", markup=False),
        TimeRemainingColumn(),
        console=heard_on(console),
        disable=console is None or not console.is_terminal,
        transient=True,
    )


class _Speed(ProgressColumn):
    """How many rows a second; nothing before the second time that it is told, when nobody knows."""

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:,.0f} rows/s")


@contextmanager
def counting(console: Console | None, what: str) -> Iterator[OnProgress]:
    """A bar of rows whose number nobody knows; nothing where there is no terminal. It is told how
    many were done since the start."""
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        _Speed(),
        TimeElapsedColumn(),
        console=heard_on(console),
        disable=console is None or not console.is_terminal,
        transient=True,
    )
    with bar:
        counter = bar.add_task(what, total=None)
        yield lambda done: bar.update(counter, completed=done)
