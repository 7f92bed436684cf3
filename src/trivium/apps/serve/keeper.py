"""Keeps one worker running: starts it, gives it batches, and replaces it when it dies."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from trivium.answering.described import Described
from trivium.answering.reading import Reading
from trivium.apps.serve.asks import Said
from trivium.apps.serve.child import Child
from trivium.apps.serve.queue import Batch
from trivium.apps.serve.wire import Answer, Ask, Failure, Hello, Malformed, Message, Refusal

LOG = logging.getLogger("trivium.serve")

GRACE_S = 2.0
"""For a worker to end by itself."""
STUCK_S = 5.0
"""After which a worker that was killed and is still there counts as one that cannot be."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 30.0
"""Before a worker is started again that died again before it answered anything."""


class NotStarted(Exception):  # noqa: N818 an outcome, not an error
    """A worker did not come up; says why, for people."""


class Owner(Protocol):
    """What a keeper tells, and is told."""

    def met(self, described: Described) -> Sequence[Reading]:
        """A worker said what it loaded: a warm-up for it. Raises NotStarted if it is another
        model than before."""

    def changed(self) -> None:
        """A worker came up, went down, or is free: give it something to do."""

    def answered(self, batch: Batch, said: Sequence[Said], seconds: float, took_s: float) -> None:
        """seconds: that it computed; took_s: from when it was given the batch until it was heard,
        which is how fast batches follow one another when the machine has other things to do."""

    def raised(self, batch: Batch, why: str) -> None: ...
    def died(self, batch: Batch, why: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a worker may take."""

    batch_s: float
    start_s: float
    """To load the model and answer a warm-up."""


@dataclass(slots=True, eq=False)
class Work:
    """What a worker computes now."""

    batch: Batch
    since: float
    timer: asyncio.TimerHandle
    blame: str | None = None
    """Why computing its only row failed; meanwhile the worker answers a warm-up, which tells
    whether the row is at fault or the worker."""


class Keeper:
    """One worker, and whoever comes after it."""

    def __init__(
        self, owner: Owner, command: Sequence[str], environment: Mapping[str, str], limits: Limits
    ) -> None:
        self._owner, self._command, self._environment = owner, command, environment
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._child: Child | None = None
        self._warm_up: Sequence[Reading] = ()
        self._number = 0
        self._failures = 0
        """Workers in a row that answered nothing."""
        self._task: asyncio.Task[None] | None = None
        self.work: Work | None = None
        self.is_up = False
        """Whether it answered a warm-up, and is there."""
        self.killed_at: float | None = None
        """When it was killed because its batch took too long; None when it is gone."""
        self.restarts = 0
        self.refused: str | None = None
        """Why the last worker did not come up."""

    @property
    def is_free(self) -> bool:
        return self.is_up and self.work is None

    @property
    def ear(self) -> int | None:
        """The pipe through which the worker will say something; None while it waits for us."""
        child = self._child
        return child.pipe if child is not None and self.work and child.has_it_all else None

    @property
    def is_stuck(self) -> bool:
        return self.killed_at is not None and self._loop.time() - self.killed_at > STUCK_S

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep())

    async def end(self) -> None:
        """End the worker; whatever it computes is not answered."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=GRACE_S + STUCK_S)

    def give(self, batch: Batch) -> None:
        """Have a batch computed; the worker must be free."""
        assert self._child is not None
        timer = self._loop.call_later(self._limits.batch_s, self._overdue)
        self.work = Work(batch, self._loop.time(), timer)
        self._ask(batch.readings())

    # --- one worker after another ---------------------------------------------------------------

    async def _keep(self) -> None:
        while True:
            fault: Exception | None = None
            try:
                why = await self._one()
            except NotStarted as error:
                why = self.refused = str(error)
            except Exception as error:  # no memory for a process, say: there may be some later
                fault, why = error, repr(error)
                self.refused = why
            self._failures += 1
            self.restarts += 1
            LOG.warning("a worker is replaced: %s", why, exc_info=fault)
            self._owner.changed()
            await asyncio.sleep(pause_s(self._failures))

    async def _one(self) -> str:
        """The life of one worker; how it ended. Raises NotStarted."""
        child = self._child = await Child.start(self._command, self._environment)
        try:
            await self._greet(child)
            self.is_up, self.refused = True, None
            self._owner.changed()
            await self._listen(child)
        finally:
            self.is_up = False
            how = await child.end(GRACE_S)
            self._gone(how)
        return how

    async def _greet(self, child: Child) -> None:
        """Hear what it loaded, and have it answer a warm-up. Raises NotStarted."""
        try:
            async with asyncio.timeout(self._limits.start_s):
                message = await child.receive()
                if isinstance(message, Hello):
                    self._warm_up = self._owner.met(message.described)
                    self._ask(self._warm_up)
                    message = await child.receive()
        except TimeoutError:
            child.kill()
            limit = f"{self._limits.start_s:g} s"
            raise NotStarted(f"the model was not loaded after {limit}.") from None
        except Malformed as error:
            child.kill()
            raise NotStarted(f"it said {error}.") from error
        if not isinstance(message, Answer):
            raise NotStarted(await _why_not(child, message))

    async def _listen(self, child: Child) -> None:
        """Hear its answers until it is gone."""
        try:
            while (message := await child.receive()) is not None:
                self._hear(child, message)
        except Malformed:
            child.kill()

    def _gone(self, how: str) -> None:
        work, overdue = self.work, self.killed_at is not None
        self.work = self.killed_at = None
        if work is not None:
            work.timer.cancel()
            why = f"computing it ended the process ({how})"
            if overdue:
                why = f"computing it took longer than {self._limits.batch_s:g} s"
            self._owner.died(work.batch, work.blame or why)

    # --- one batch after another ----------------------------------------------------------------

    def _ask(self, readings: Sequence[Reading]) -> None:
        assert self._child is not None
        self._number += 1
        self._child.send(Ask(self._number, readings))

    def _hear(self, child: Child, message: Message) -> None:
        work = self.work
        if work is None or not isinstance(message, Answer | Failure):
            raise Malformed("something that nobody asked")
        if message.number != self._number:
            raise Malformed("an answer to another batch")
        if isinstance(message, Failure):
            self._failed(child, work, message.why)
        elif work.blame is not None:  # the warm-up went well, so it is the row
            self._free(work)
            self._owner.raised(work.batch, work.blame)
        else:
            self._answered(child, work, message)

    def _answered(self, child: Child, work: Work, answer: Answer) -> None:
        try:
            said = work.batch.share(answer.readouts)
        except ValueError as error:
            self._failed(child, work, str(error))
            return
        self._failures = 0
        self._free(work)
        self._owner.changed()  # which has it compute the next batch while this one is handed out
        took_s = self._loop.time() - work.since
        self._owner.answered(work.batch, said, answer.seconds, took_s)

    def _failed(self, child: Child, work: Work, why: str) -> None:
        if work.blame is not None:  # it cannot even answer a warm-up any more: another one may
            child.kill()
        elif len(work.batch.pieces) == 1:
            work.blame = why
            self._ask(self._warm_up)
        else:
            self._free(work)
            self._owner.raised(work.batch, why)

    def _free(self, work: Work) -> None:
        work.timer.cancel()
        self.work = None

    def _overdue(self) -> None:
        self.killed_at = self._loop.time()
        if self._child is not None:
            self._child.kill()


def pause_s(failures: int) -> float:
    """Before the next worker, after so many in a row that answered nothing."""
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures - 2, 20)) if failures > 1 else 0


async def _why_not(child: Child, message: Message | None) -> str:
    """Why a worker did not come up, from what it said in place of an answer."""
    if isinstance(message, Refusal):
        return message.why
    if isinstance(message, Failure):
        return f"the model was loaded, but a first answer failed: {message.why}."
    if message is not None:
        return "it said something that nobody asked."
    how = await child.end(GRACE_S)
    return f"the process ended while it loaded the model ({how}); what it said stands above."
