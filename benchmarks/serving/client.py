"""The client, in a process of its own: reads a job from each line, writes what became of it.

It loads neither torch nor an HTTP library, so that it takes little of the machine from the server.
"""

import asyncio
import gc
import itertools
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.serving.figures import NO_ANSWER, Outcome
from benchmarks.serving.wire import Connection, read_asks

PAUSE_S = 0.05
"""Of a connection whose request had no answer, so that a server that is gone is not hammered."""


@dataclass(frozen=True, slots=True)
class Job:
    """Requests to one server: a closed loop, or an open one."""

    port: int
    asks: str
    """File of the requests, which are sent in its order, again and again."""
    seconds: float
    connections: int = 0
    """Closed loop: so many clients, each of which asks again when it was answered."""
    due: tuple[float, ...] = ()
    """Open loop: when requests are sent, from the start, whatever became of those before."""
    first: int = 0
    """Place of the first request in the file."""
    patience_s: float = 60.0
    """After which a request is given up."""

    def line(self) -> str:
        return json.dumps(asdict(self))


def main() -> None:
    for line in sys.stdin:
        job = Job(**json.loads(line))
        gc.collect()
        gc.disable()  # its pauses would be the server's latency
        outcomes = asyncio.run(Run(job).outcomes())
        gc.enable()
        found = [[o.which, round(o.due_s, 5), round(o.latency_s, 6), o.status] for o in outcomes]
        print(json.dumps(found), flush=True)


def outcomes_of(line: str) -> list[Outcome]:
    """What `main` wrote of a job."""
    found: list[list[Any]] = json.loads(line)
    return [Outcome(*each) for each in found]


class Run:
    """A job while it is done."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.wires = _wires(job.asks)
        self.done: list[Outcome] = []
        self.free: list[Connection] = []
        self.began = 0.0

    async def outcomes(self) -> list[Outcome]:
        """Until the last request was answered or given up; none is sent after the interval."""
        self.began = perf_counter()
        if self.job.connections:
            places = itertools.count(self.job.first)
            await asyncio.gather(*(self._closed(places) for _ in range(self.job.connections)))
        else:
            await self._open()
        for connection in self.free:
            connection.close()
        return self.done

    async def _closed(self, places: Iterator[int]) -> None:
        connection = Connection(self.job.port)
        while (now := perf_counter() - self.began) < self.job.seconds:
            status = await self._ask(connection, next(places), now)
            if status == NO_ANSWER:
                await asyncio.sleep(PAUSE_S)
        self.free.append(connection)

    async def _open(self) -> None:
        async with asyncio.TaskGroup() as group:
            for place, due in enumerate(self.job.due, start=self.job.first):
                wait = due - (perf_counter() - self.began)
                if wait > 0:
                    await asyncio.sleep(wait)
                group.create_task(self._arrive(place, due))

    async def _arrive(self, place: int, due: float) -> None:
        connection = self.free.pop() if self.free else Connection(self.job.port)
        await self._ask(connection, place, due)
        self.free.append(connection)

    async def _ask(self, connection: Connection, place: int, due: float) -> int:
        which = place % len(self.wires)
        try:
            async with asyncio.timeout(self.job.patience_s):
                status, _ = await connection.ask(self.wires[which])
        except (OSError, EOFError):  # TimeoutError is an OSError
            connection.close()
            status = NO_ANSWER
        latency = perf_counter() - self.began - due
        self.done.append(Outcome(which, due, latency, status))
        return status


@cache
def _wires(path: str) -> list[bytes]:
    return [ask.wire for ask in read_asks(Path(path))]


if __name__ == "__main__":
    main()
