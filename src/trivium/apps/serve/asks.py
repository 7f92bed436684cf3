"""What the front asks of the processes that compute, and what comes back. No HTTP in here."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from trivium.answering.described import Described
from trivium.answering.reading import Asked
from trivium.answering.says import Floats


@dataclass(frozen=True, slots=True, eq=False)
class RowAsk:
    """All that one row of a request asks: the unit that fails or succeeds by itself."""

    asked: tuple[Asked, ...]
    """A question per task; PLAIN among them where the text's vector is wanted."""

    @property
    def tokens(self) -> int:
        """What it costs to compute; a line that several tasks share counts once."""
        return sum(len(line.ids) for line in {line for one in self.asked for line in one.lines})


@dataclass(frozen=True, slots=True)
class Failed:
    """Why a row has no answer: the row itself brings the computation down."""

    why: str


Said = Mapping[str, Floats] | Failed
"""Of one row the readout of each task, readout_K (of PLAIN vector_D), or why there is none."""


@dataclass(slots=True)
class Ticket:
    """A request that was taken in. Cancel `answers` when whoever asked is gone."""

    answers: "asyncio.Future[Sequence[Said]]"
    """One per row, in order. Raises TooLate where the deadline passed before they were there."""
    queued_s: float = 0.0
    """How long it waited; known when it is answered."""
    computed_s: float = 0.0
    """How long the batches that held it took."""


class Full(Exception):  # noqa: N818 an outcome, not an error
    """The queue has no room for the whole request."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("the queue is full")
        self.retry_after_s = retry_after_s
        """After which, at the measured speed, there will be room."""


class TooLate(Exception):  # noqa: N818 an outcome, not an error
    """The deadline passed before the request was answered; what was not computed never will be."""


class Draining(Exception):  # noqa: N818 an outcome, not an error
    """No new work is taken in, or none is done any more: the server is about to stop."""


@dataclass(frozen=True, slots=True)
class Load:
    """How things are, for metrics and health."""

    queued_rows: int
    queued_tokens: int
    most_rows: int
    most_tokens: int
    workers: int
    """That are up and have answered a warm-up."""
    wanted_workers: int
    tokens_per_s: float
    """Measured, of all workers together; 0 before the first batch."""
    oldest_s: float
    """Age of the oldest request in the queue."""
    longest_batch_s: float
    """Of the batches that are being computed, how long the oldest has been."""
    last_success_s: float
    """Since a batch was last answered (or the service was made)."""
    restarts: int
    """Workers that died and were replaced, since the start."""
    batches: int = 0
    rows: int = 0
    tokens: int = 0
    """Computed since the start."""
    extra: Mapping[str, float] = field(default_factory=dict)


class Service(Protocol):
    """The queue and the processes behind it, as HTTP sees them. All in one event loop."""

    described: Described
    """Of the model; known when `start` returned."""

    async def start(self) -> None:
        """Start the workers; returns when the first has answered a real warm-up. Raises
        RecipeError with the reason if the model cannot be loaded."""

    @property
    def ready(self) -> bool:
        """Whether all wanted workers answered their warm-up, none is missing, and the last probe
        succeeded."""

    @property
    def alive(self) -> bool:
        """False where a batch is past its deadline and killing its worker did not help: only a
        restart of everything does."""

    def ask(self, rows: Sequence[RowAsk], deadline: float) -> Ticket:
        """Queue a request, whole or not at all. deadline: of `loop.time()`. Raises Full or
        Draining. A request larger than the whole queue is the caller's to refuse (see `Load`)."""

    def load(self) -> Load: ...

    def rest(self, seconds: float) -> bool:
        """Hold the event loop up until a worker has something to say, at most so long. False, at
        once, where one waits for us, or it cannot be known."""

    def drain(self) -> None:
        """Take no more; what is queued is still answered."""

    async def stop(self, grace_s: float) -> None:
        """Drain, wait for what is queued (at most so long), end the workers. What is not answered
        by then raises Draining."""
