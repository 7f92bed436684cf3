"""Where requests are taken in and answered: the queue, with futures and deadlines."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from trivium.apps.serve.asks import Draining, RowAsk, Said, Ticket, TooLate
from trivium.apps.serve.queue import MOST_DEATHS, Batch, Queue, Request
from trivium.apps.serve.speed import Speed


@dataclass(slots=True)
class Counts:
    """Since the start."""

    batches: int = 0
    rows: int = 0
    tokens: int = 0
    failed_rows: int = 0
    late_requests: int = 0


class Desk:
    """Requests in, batches out, answers back. All in one event loop.

    wake: called soon after there is something to take.
    """

    def __init__(self, queue: Queue, wake: Callable[[], None]) -> None:
        self.queue, self.speed, self.counts = queue, Speed(), Counts()
        self.workers = 0
        """That are up, for a measure of how fast they are together."""
        self.draining = False
        self._wake = wake
        self._open: dict[Request, Ticket] = {}
        self._loop = asyncio.get_running_loop()
        self.last_success = self._loop.time()

    @property
    def tokens_per_s(self) -> float:
        return self.speed.tokens_per_s * max(1, self.workers)

    def ask(self, rows: Sequence[RowAsk], deadline: float) -> Ticket:
        """Take a request in. Raises Full or Draining."""
        if self.draining:
            raise Draining("the server is about to stop")
        request = Request(rows, deadline, self._loop.time())
        self.queue.offer(request, self.tokens_per_s)
        ticket = Ticket(self._loop.create_future())
        if not rows:
            ticket.answers.set_result([])
            return ticket
        self._open[request] = ticket
        timer = self._loop.call_at(deadline, self._late, request)
        ticket.answers.add_done_callback(lambda _: self._closed(request, timer))
        self._wake()
        return ticket

    def take(self, most_tokens: int) -> Batch | None:
        """What a worker is to compute now."""
        batch, late = self.queue.take(self._loop.time(), most_tokens)
        for request in late:
            self._late(request)
        return batch

    def answered(self, batch: Batch, said: Sequence[Said], seconds: float, took_s: float) -> None:
        """seconds: of computing; took_s: with all that a batch waits for, on its way there and
        back, since the queue moves no faster."""
        self.counts.batches += 1
        self.counts.rows += len(batch.pieces)
        self.counts.tokens += batch.tokens
        self.speed.add(batch.tokens, took_s)
        self.last_success = self._loop.time()
        self._finish(self.queue.answered(batch, said, seconds))

    def raised(self, batch: Batch, why: str) -> None:
        self.counts.failed_rows += len(batch.pieces) == 1
        self._finish(self.queue.raised(batch, why))
        self._wake()

    def died(self, batch: Batch, why: str) -> None:
        finished = self.queue.died(batch, why)
        self.counts.failed_rows += sum(piece.deaths >= MOST_DEATHS for piece in batch.pieces)
        self._finish(finished)
        self._wake()

    async def empty(self) -> None:
        """Wait until every request that was taken in has its answer."""
        while self._open:
            await asyncio.wait([ticket.answers for ticket in self._open.values()])
            await asyncio.sleep(0)  # in which the requests are closed

    def refuse_rest(self) -> None:
        """Nobody computes any more: whoever waits hears so."""
        for request, ticket in list(self._open.items()):
            self.queue.withdraw(request)
            if not ticket.answers.done():
                ticket.answers.set_exception(Draining("the server stopped before the answer"))

    # --------------------------------------------------------------------------------------------

    def _finish(self, requests: Iterable[Request]) -> None:
        for request in requests:
            ticket = self._open[request]
            ticket.queued_s, ticket.computed_s = request.waited_s, request.computed_s
            if not ticket.answers.done():
                ticket.answers.set_result(request.said)

    def _late(self, request: Request) -> None:
        ticket = self._open.get(request)
        if ticket is not None and not ticket.answers.done():
            self.counts.late_requests += 1
            ticket.answers.set_exception(TooLate("the deadline passed before the answer"))
            self.queue.withdraw(request)

    def _closed(self, request: Request, timer: asyncio.TimerHandle) -> None:
        """Answered, late, or cancelled by whoever asked, whose rows are then computed no more."""
        timer.cancel()
        self.queue.withdraw(request)
        del self._open[request]
