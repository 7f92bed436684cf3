"""The way of every question: body, checks, tokens, queue, answers; and who waits for them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.requests import Request

from trivium.answering.form import Form
from trivium.answering.reading import Asked
from trivium.answering.rows import Wanted, answering
from trivium.apps.serve.aside import Aside
from trivium.apps.serve.asks import (
    Draining,
    Failed,
    Full,
    Load,
    RowAsk,
    Said,
    Service,
    Ticket,
    TooLate,
)
from trivium.apps.serve.bodies import parse, read_body
from trivium.apps.serve.errors import Detail, Problem
from trivium.apps.serve.notes import Note
from trivium.apps.serve.presence import leave_if_gone, waited_for
from trivium.apps.serve.settings import BODIES_ASIDE, MAX_DETAILS, OFF_LOOP_BYTES, Settings

PATIENCE = 0.5
"""Share of the time for an answer that a request may have to wait before it is begun."""

COMPUTES = "a row that can be computed"
SEVERAL = "send several requests"

T = TypeVar("T")


class Front:
    """One model's readers and queue, as routes use them. Lives in one event loop."""

    def __init__(self, service: Service, settings: Settings) -> None:
        self.service, self.settings = service, settings
        self.described = service.described
        self.forms: dict[str, Form] = answering(self.described.forms)
        self.readers = self.described.open()
        self.is_draining = False
        self._aside = Aside(BODIES_ASIDE * settings.max_body_bytes)

    @property
    def is_ready(self) -> bool:
        return self.service.ready and not self.is_draining

    def refuse_if_not_ready(self) -> None:
        """Raises Problem: 503 where requests should go elsewhere."""
        if self.is_draining:
            raise self.draining()
        if not self.service.ready:
            message = "not every process answers yet, or again."
            raise Problem(503, "not_ready", message, headers={"retry-after": "1"})

    def refuse_if_dead(self) -> None:
        """Raises Problem: 503 where only a restart helps."""
        if not self.service.alive:
            raise Problem(503, "stuck", "a batch is past its deadline; only a restart helps.")

    def close(self) -> None:
        self._aside.close()

    async def checked(
        self, request: Request, check: Callable[[Any], T], parsed: Callable[[bytes], Any] = parse
    ) -> T:
        """What `check` makes of the body's value. parsed: the value. Raises Problem."""
        note: Note = request.scope["trivium.note"]
        # A header that cannot be read is told first.
        deadline = deadline_of(request, self.settings)
        self.refuse_if_closed()
        # Before anything is read: when most are refused, that is the work.
        self._refuse_if_full(1, deadline - note.arrived)
        slowest = note.arrived + self.settings.timeout_s
        body = await read_body(request, self.settings.max_body_bytes, slowest)
        note.size = len(body)
        return await self._worked_out(request, lambda: check(parsed(body)), deadline)

    async def answers(
        self,
        request: Request,
        wanted: Wanted | Callable[[], Wanted],
        count: int,
        remedy: str = SEVERAL,
    ) -> "Answers":
        """What is said of `count` rows. Raises Problem; 500 where every row failed.

        wanted: or what makes it, where that is work; remedy: where the queue can never hold them.
        """
        note: Note = request.scope["trivium.note"]
        note.rows = count
        if self.settings.log_texts and isinstance(wanted, Wanted):
            note.texts = wanted.texts
        deadline = deadline_of(request, self.settings)
        self._refuse_if_full(count, deadline - note.arrived, remedy)

        def split() -> list[RowAsk]:
            return self._split(wanted if isinstance(wanted, Wanted) else wanted(), count)

        rows = await self._worked_out(request, split, deadline)
        note.tokens = sum(row.tokens for row in rows)
        self._refuse_if_larger_than_queue(count, note.tokens, remedy)
        leave_if_gone(request)
        ticket = self._queued(rows, deadline)
        try:
            said = await waited_for(ticket.answers, request)
        except TooLate as late:
            late.__traceback__ = None  # leads here, and from here through the ticket back to it
            raise too_late() from None
        except Draining as ended:
            ended.__traceback__ = None
            raise self.draining() from None
        note.queued_s, note.computed_s = ticket.queued_s, ticket.computed_s
        failed = [(n, one.why) for n, one in enumerate(said) if isinstance(one, Failed)]
        note.failed = len(failed)
        if len(failed) == len(said):
            raise failure([Detail(f"rows[{n}]", why, COMPUTES) for n, why in failed[:MAX_DETAILS]])
        return Answers(rows, said, ticket.queued_s, ticket.computed_s, note.tokens)

    async def _worked_out(self, request: Request, work: Callable[[], T], deadline: float) -> T:
        """Here, or in the thread for what would hold others up. Raises Problem: 429 or 504."""
        note: Note = request.scope["trivium.note"]
        if note.size <= OFF_LOOP_BYTES:
            return work()
        try:
            if not note.was_aside:  # else part of its work would have been in vain
                longest_s = self._longest_s(deadline - note.arrived)
                self._aside.refuse_if_full(note.size, longest_s)
            note.was_aside = True
            return await self._aside.worked_out(work, note.size, deadline, request)
        except Full as error:
            raise full(error.retry_after_s) from None
        except TooLate:
            raise too_late() from None

    def _split(self, wanted: Wanted, count: int) -> list[RowAsk]:
        """Rows as tokens."""
        found: list[list[Asked]] = [[] for _ in range(count)]
        for reader in self.readers:
            own = {name: rows for name, rows in wanted.texts.items() if name in reader.forms}
            asked = iter(reader.asked(own))
            for name in own:
                for place in wanted.places[name]:
                    found[place].append(next(asked))
        return [RowAsk(tuple(asked)) for asked in found]

    def _queued(self, rows: Sequence[RowAsk], deadline: float) -> Ticket:
        """Raises Problem: 429 or 503."""
        try:
            return self.service.ask(rows, deadline)
        except Full as error:
            raise full(error.retry_after_s) from None
        except Draining:
            raise self.draining() from None

    def refuse_if_closed(self) -> None:
        """Raises Problem: 503 where nobody computes."""
        if self.service.load().workers == 0:
            message = "no process is ready to compute."
            raise Problem(503, "not_ready", message, headers={"retry-after": "1"})

    def full_for_s(self, load: Load, rows: int, time_s: float) -> float | None:
        """After how long so many rows may come again; None where there is room for them now.

        time_s: in which they are to be answered. Whoever would wait for most of it is told at once,
        while he can still go elsewhere; and what is answered when it is nearly over is often
        answered to nobody. Nor does a longer queue answer more: it is only waited in.
        """
        wait_s = load.queued_tokens / load.tokens_per_s if load.tokens_per_s else 0.0
        is_full = load.queued_rows + rows > load.most_rows or load.queued_tokens >= load.most_tokens
        return wait_s or 1.0 if is_full or wait_s > self._longest_s(time_s) else None

    def _longest_s(self, time_s: float) -> float:
        """How long one may wait before he is begun who has so many seconds in all."""
        return min(PATIENCE * time_s, self.settings.max_wait_s)

    def _refuse_if_full(self, rows: int, time_s: float, remedy: str = SEVERAL) -> None:
        """Before tokens are counted, so that what cannot be taken costs little. Raises Problem."""
        load = self.service.load()
        if rows > load.most_rows:
            self._refuse_if_larger_than_queue(rows, 0, remedy)
        if (after_s := self.full_for_s(load, rows, time_s)) is not None:
            raise full(after_s)

    def _refuse_if_larger_than_queue(self, rows: int, tokens: int, remedy: str) -> None:
        """Raises Problem: 413 for what could never be taken."""
        load = self.service.load()
        if rows <= load.most_rows and tokens <= load.most_tokens:
            return
        found = f"{rows:,} rows with {tokens:,} tokens" if tokens else f"{rows:,} rows"
        allowed = f"up to {load.most_rows:,} rows and {load.most_tokens:,} tokens, the whole queue"
        detail = Detail("body", found, allowed, remedy)
        message = f"body: found {found}; allowed are {allowed}."
        raise Problem(413, "too_large", message, [detail])

    def draining(self) -> Problem:
        return Problem(
            503,
            "draining",
            "the server is about to stop; ask another one.",
            headers={"retry-after": str(math.ceil(self.settings.drain_delay_s) or 1)},
        )


@dataclass(frozen=True, slots=True)
class Answers:
    """What was said of a request's rows, in their order."""

    rows: Sequence[RowAsk]
    said: Sequence[Said]
    queued_s: float
    computed_s: float
    tokens: int


def failure(details: Sequence[Detail]) -> Problem:
    """Rows that bring the computation down, each by itself."""
    message = f"{details[0].where}: could not be computed: {details[0].found}"
    return Problem(500, "row_failed", message, details)


def deadline_of(request: Request, settings: Settings) -> float:
    """Of `loop.time()`: the setting, or the header X-Request-Timeout (seconds) where it is less.

    Raises Problem for a header that is no number above 0.
    """
    note: Note = request.scope["trivium.note"]
    seconds = settings.timeout_s
    said = request.headers.get("x-request-timeout")
    if said is not None:
        try:
            wanted = float(said)
        except ValueError:
            wanted = math.nan
        if not 0 < wanted < math.inf:
            allowed = "seconds, a number above 0"
            detail = Detail("header x-request-timeout", repr(said[:80]), allowed)
            message = f"header x-request-timeout: found {said[:80]!r}; allowed are {allowed}."
            raise Problem(400, "bad_header", message, [detail])
        seconds = min(seconds, wanted)
    return note.arrived + seconds


def too_late() -> Problem:
    message = "the deadline passed before the answer was there; it is computed no further."
    return Problem(504, "too_late", message)


def full(retry_after_s: float) -> Problem:
    seconds = seconds_of(retry_after_s)
    message = f"the queue is full; try again in {seconds} s."
    return Problem(429, "queue_full", message, headers={"retry-after": str(seconds)})


def seconds_of(retry_after_s: float) -> int:
    """As the header says it."""
    return max(1, math.ceil(min(retry_after_s, 3600.0)))
