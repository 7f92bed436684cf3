"""A server without processes: a predictor answers in a thread, behind the real HTTP layer."""

import asyncio
import socket
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from io import StringIO
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from tests.support.processes import wait_until
from trivium.answering.reading import Asked, gather
from trivium.apps.serve.app import create_app
from trivium.apps.serve.asks import Draining, Failed, Full, Load, RowAsk, Said, Ticket, TooLate
from trivium.apps.serve.logs import Log
from trivium.apps.serve.running import PROTOCOL, Server
from trivium.apps.serve.settings import Settings
from trivium.run.predictor.base import Predictor


class ThreadService:
    """The Protocol `Service` on one thread that computes a request at a time."""

    def __init__(
        self, model: Predictor, *, most_rows: int = 4096, most_tokens: int = 65_536
    ) -> None:
        self.model, self.most_rows, self.most_tokens = model, most_rows, most_tokens
        self.described = model.described("torch")
        self.may_go = threading.Event()
        """Cleared to keep requests waiting."""
        self.may_go.set()
        self.poison = -1
        """A token that brings the computation down."""
        self.alive = self.healthy = True
        self.workers = 0
        self.calls: deque[int] = deque()
        """Rows of each request that was computed."""
        self._thread = ThreadPoolExecutor(1)
        self._waiting: dict[Ticket, tuple[int, int]] = {}
        self._is_draining = False
        self._rows = self._tokens = 0

    @property
    def ready(self) -> bool:
        return self.healthy and self.workers == 1

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        if self.model.embeds:
            await loop.run_in_executor(self._thread, self.model.vectors, ["warm"])
        self.workers = 1

    def ask(self, rows: Sequence[RowAsk], deadline: float) -> Ticket:
        if self._is_draining:
            raise Draining
        tokens = sum(row.tokens for row in rows)
        load = self.load()
        if load.queued_rows + len(rows) > load.most_rows:
            raise Full(1.5)
        if load.queued_tokens + tokens > load.most_tokens:
            raise Full(1.5)
        ticket = _Hashable(asyncio.get_running_loop().create_future())
        self._waiting[ticket] = (len(rows), tokens)
        task = asyncio.ensure_future(self._answer(ticket, rows, deadline))
        ticket.answers.add_done_callback(lambda _: task.cancel())
        return ticket

    async def _answer(self, ticket: Ticket, rows: Sequence[RowAsk], deadline: float) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        timer = loop.call_at(deadline, _too_late, ticket)
        try:
            while not self.may_go.is_set():
                await asyncio.sleep(0.005)
            said, took = await loop.run_in_executor(self._thread, self._computed, rows)
            ticket.computed_s, ticket.queued_s = took, loop.time() - begun - took
            if not ticket.answers.done():
                ticket.answers.set_result(said)
        finally:
            timer.cancel()
            del self._waiting[ticket]

    def _computed(self, rows: Sequence[RowAsk]) -> tuple[list[Said], float]:
        begun = time.perf_counter()
        self.calls.append(len(rows))
        said = [self._row(row.asked) for row in rows]
        self._rows += len(rows)
        self._tokens += sum(row.tokens for row in rows)
        return said, time.perf_counter() - begun

    def _row(self, asked: Sequence[Asked]) -> Said:
        if any(self.poison in line.ids for one in asked for line in one.lines):
            return Failed("RuntimeError in the head")
        found = self.model.read(gather(asked))
        return {name: readout_BK[0] for name, readout_BK in found.items()}

    def load(self) -> Load:
        waiting = list(self._waiting.values())
        return Load(
            queued_rows=sum(rows for rows, _ in waiting),
            queued_tokens=sum(tokens for _, tokens in waiting),
            most_rows=self.most_rows,
            most_tokens=self.most_tokens,
            workers=self.workers,
            wanted_workers=1,
            tokens_per_s=1000.0,
            oldest_s=0.0,
            longest_batch_s=0.0,
            last_success_s=0.0,
            restarts=0,
            batches=len(self.calls),
            rows=self._rows,
            tokens=self._tokens,
        )

    def rest(self, seconds: float) -> bool:  # noqa: ARG002 there is no process to be heard
        return False

    def drain(self) -> None:
        self._is_draining = True

    async def stop(self, grace_s: float) -> None:
        self.drain()
        loop = asyncio.get_running_loop()
        until = loop.time() + grace_s
        while self._waiting and loop.time() < until:
            await asyncio.sleep(0.01)
        self._thread.shutdown(wait=False, cancel_futures=True)


class _Hashable(Ticket):
    """A ticket that is told apart from others."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__


def _too_late(ticket: Ticket) -> None:
    if not ticket.answers.done():
        ticket.answers.set_exception(TooLate())


class Client(httpx.AsyncClient):
    """A client of an application in this process, with all that belongs to it at hand."""

    app: FastAPI
    service: ThreadService
    said: StringIO
    """Its log."""

    async def ask(self, path: str, body: Any, **headers: str) -> httpx.Response:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        return await self.post(path, json=body, headers=named)


@asynccontextmanager
async def client_of(
    model: Predictor, settings: Settings | None = None, **queue: int
) -> AsyncIterator[Client]:
    """A server that has started, without a socket."""
    service, said = ThreadService(model, **queue), StringIO()
    app = create_app(service, settings or Settings(name="tiny"), Log(said))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with Client(transport=transport, base_url="http://server") as client:
            client.app, client.service, client.said = app, service, said
            yield client


async def waiting(client: Client, rows: int) -> None:
    while client.service.load().queued_rows != rows:
        await asyncio.sleep(0.005)


async def number(client: Client, name: str, **labels: str) -> float:
    """Of the metrics."""
    text = (await client.get("/metrics")).text
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return float(sample.value)
    raise AssertionError(name)


@contextmanager
def served(app: FastAPI, http: Any = PROTOCOL) -> Iterator[str]:
    """An application on a socket, in a thread; its address. http: what it is spoken with."""
    heard = socket.create_server(("127.0.0.1", 0))
    is_heard = threading.Event()
    server = Server(uvicorn.Config(app, http=http, log_level="critical", ws="none"), is_heard.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [heard]})
    thread.start()
    wait_until(is_heard.is_set)
    try:
        yield f"http://127.0.0.1:{heard.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        heard.close()
