"""The queue and the processes that compute, together: what HTTP asks."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from trivium.answering.described import Described
from trivium.answering.reading import PLAIN, Reader, Reading
from trivium.apps.serve.asks import Draining, Failed, Full, Load, RowAsk, Said, Ticket, TooLate
from trivium.apps.serve.child import COMMAND
from trivium.apps.serve.desk import Desk
from trivium.apps.serve.keeper import LOG, Keeper, Limits, NotStarted
from trivium.apps.serve.pace import until_heard
from trivium.apps.serve.queue import Batch, Queue
from trivium.errors import RecipeError
from trivium.run.assembly.cores import VISIBLE, cores, gpus
from trivium.run.predictor.load import backend_of

PROBE_TEXT = "Is anybody there?"


class WorkerService:
    """N processes that compute, each with the whole model and one thread, and a queue before them.

    run: as `trivium.load` takes it, with precision, device and backend. workers: how many; None:
    one per GPU, or as many as there are cores. most_rows, most_tokens: that may wait. batch_tokens:
    of a batch, which has at least one row. batch_deadline_s, start_deadline_s: after which a worker
    that computes, or loads, is killed and replaced. probe_every_s: how long nothing may have been
    answered before a row of our own goes through the queue. command: starts a worker, with what is
    to be loaded behind it.

        async def first_answer(rows: Sequence[RowAsk]) -> Said:
            service = WorkerService("runs/first", workers=2)
            await service.start()
            ticket = service.ask(rows, asyncio.get_running_loop().time() + 10)
            return (await ticket.answers)[0]
    """

    def __init__(
        self,
        run: str | Path,
        *,
        workers: int | None = None,
        precision: str = "auto",
        device: str = "auto",
        backend: str = "auto",
        most_rows: int = 4096,
        most_tokens: int = 2**18,
        batch_tokens: int = 2048,
        batch_deadline_s: float = 60.0,
        start_deadline_s: float = 300.0,
        probe_every_s: float = 30.0,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self.run, self._workers, self._device, self._backend = Path(run), workers, device, backend
        self._command = (*command, str(run), precision, device, backend)
        self._queue, self._batch_tokens = Queue(most_rows, most_tokens), batch_tokens
        self._limits = Limits(batch_deadline_s, start_deadline_s)
        self._probe_every_s = probe_every_s
        self.described: Described
        self.readers: tuple[Reader, ...] = ()
        """Of the model, for whoever asks; known when `start` returned."""
        self._keepers: list[Keeper] = []
        self._probe: RowAsk
        self._probe_went_well = True
        self._woken = False
        self._watch: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._desk = Desk(self._queue, self.wake)
        for environment in self._environments():
            keeper = Keeper(self, self._command, environment, self._limits)
            self._keepers.append(keeper)
            keeper.start()
        try:
            while not any(keeper.is_up for keeper in self._keepers):
                await self._news.wait()
                self._news.clear()
                if refusal := next((k.refused for k in self._keepers if k.refused), None):
                    raise RecipeError(f"trivium serve: {refusal}")
        except BaseException:
            await self._end()
            raise
        self._watch = asyncio.create_task(self._look_after())

    @property
    def ready(self) -> bool:
        are_up = bool(self._keepers) and all(keeper.is_up for keeper in self._keepers)
        return are_up and self._probe_went_well and not self._desk.draining

    @property
    def alive(self) -> bool:
        return not any(keeper.is_stuck for keeper in self._keepers)

    def ask(self, rows: Sequence[RowAsk], deadline: float) -> Ticket:
        return self._desk.ask(rows, deadline)

    def load(self) -> Load:
        now, queue, counts = self._loop.time(), self._queue, self._desk.counts
        since = [keeper.work.since for keeper in self._keepers if keeper.work is not None]
        return Load(
            queued_rows=queue.rows,
            queued_tokens=queue.tokens,
            most_rows=queue.most_rows,
            most_tokens=queue.most_tokens,
            workers=self._desk.workers,
            wanted_workers=len(self._keepers),
            tokens_per_s=self._desk.tokens_per_s,
            oldest_s=now - queue.oldest if queue.oldest is not None else 0.0,
            longest_batch_s=now - min(since, default=now),
            last_success_s=now - self._desk.last_success,
            restarts=sum(keeper.restarts for keeper in self._keepers),
            batches=counts.batches,
            rows=counts.rows,
            tokens=counts.tokens,
            extra={"failed_rows": counts.failed_rows, "late_requests": counts.late_requests},
        )

    def rest(self, seconds: float) -> bool:
        ears = [keeper.ear for keeper in self._keepers if keeper.is_up]
        pipes = [ear for ear in ears if ear is not None]
        return bool(pipes) and len(pipes) == len(ears) and until_heard(pipes, seconds)

    def drain(self) -> None:
        self._desk.draining = True

    async def stop(self, grace_s: float) -> None:
        """As the Protocol says. What is not answered by then raises Draining."""
        self.drain()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._desk.empty()
        self._desk.refuse_rest()
        await self._end()

    # --- what workers say -----------------------------------------------------------------------

    def met(self, described: Described) -> Sequence[Reading]:
        if not self.readers:
            try:
                self.readers = described.open()
            except RecipeError as error:
                raise NotStarted(str(error)) from error
            self.described = described
            self._probe = _probe(described, self.readers)
        elif described != self.described:
            raise NotStarted(
                f"{self.run}: holds another model than when the server was started; restart it."
            )
        return Batch.of([self._probe]).readings()

    def changed(self) -> None:
        self._desk.workers = sum(keeper.is_up for keeper in self._keepers)
        self._news.set()
        self._feed()

    def answered(self, batch: Batch, said: Sequence[Said], seconds: float, took_s: float) -> None:
        self._probe_went_well = True
        self._desk.answered(batch, said, seconds, took_s)

    def raised(self, batch: Batch, why: str) -> None:
        self._desk.raised(batch, why)

    def died(self, batch: Batch, why: str) -> None:
        self._desk.died(batch, why)

    def wake(self) -> None:
        """See to the queue when whoever came at this moment is in it, so that they share a batch.
        Nobody waits for others: that is only the rest of this turn of the event loop."""
        if not self._woken:
            self._woken = True
            self._loop.call_soon(self._feed)

    def _feed(self) -> None:
        self._woken = False
        for keeper in self._keepers:
            if keeper.is_free:
                batch = self._desk.take(self._batch_tokens) if self._queue else None
                if batch is None:
                    return
                keeper.give(batch)

    # --------------------------------------------------------------------------------------------

    def _environments(self) -> list[Mapping[str, str]]:
        """Of each worker: its thread, and its GPU."""
        one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        environment = {**os.environ, **one_thread}
        backend = backend_of(self.run, self._backend)
        chooses = self._device == "cuda" or (self._device == "auto" and backend == "torch")
        visible = gpus() if chooses else []
        count = self._workers or len(visible)
        if not count:
            count = 1 if self._device.startswith("cuda") else cores()
        if not visible:
            return [environment] * count
        return [{**environment, VISIBLE: visible[n % len(visible)]} for n in range(count)]

    async def _look_after(self) -> None:
        """Send a row of our own through the queue where nothing was answered for a while."""
        asked = self._loop.time()
        while not self._desk.draining:
            quiet_s = self._loop.time() - max(self._desk.last_success, asked)
            if quiet_s < self._probe_every_s:
                await asyncio.sleep(self._probe_every_s - quiet_s)
                continue
            asked = self._loop.time()
            self._probe_went_well = await self._ask_probe()
            if not self._probe_went_well:
                LOG.warning("a row of our own was not answered")

    async def _ask_probe(self) -> bool:
        try:
            ticket = self.ask([self._probe], self._loop.time() + self._probe_every_s)
            (said,) = await ticket.answers
        except (Full, TooLate):
            return False
        except Draining:
            return True
        return not isinstance(said, Failed)

    async def _end(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
        await asyncio.gather(*(keeper.end() for keeper in self._keepers))


def _probe(described: Described, readers: Sequence[Reader]) -> RowAsk:
    """A row that asks every task that has answers."""
    asked = []
    for reader in readers:
        forms = {n: f for n, f in reader.forms.items() if n in described.forms and f.says}
        texts = {name: [(PROBE_TEXT,) * len(form.text)] for name, form in forms.items()}
        asked += reader.asked(texts or {PLAIN: [PROBE_TEXT]})
    return RowAsk(tuple(asked))
