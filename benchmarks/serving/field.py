"""Several servers at once, of which one is asked at a time: started, compared, measured in turn."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.serving import programs
from benchmarks.serving.answers import TASKS, labels_of, same
from benchmarks.serving.client import Job
from benchmarks.serving.figures import Interval, Outcome, interval, poisson
from benchmarks.serving.processes import Client, Failed, Program, Server
from benchmarks.serving.wire import Ask, Connection, write_asks

WARM_UP_S = 1.5
LEAD_S = 0.5
"""Of requests before each interval, which is not measured: what has slept must wake."""
IDLE_S = 2.0
RESTLESS = 0.01
"""Share of a core that a server may use when nobody asks; above, it is paused."""
COMPARED = 40
"""Texts about which all servers are asked, to see that they answer alike."""


@dataclass(frozen=True, slots=True)
class Load:
    """How a server is asked: by clients in a closed loop, or by whoever comes."""

    seconds: float
    connections: int = 0
    rate: float = 0.0
    """Requests a second."""


class Field:
    """Servers that are ready, and the client."""

    def __init__(self, servers: Mapping[str, Server], client: Client, folder: Path) -> None:
        """folder: for what the client is to send."""
        self.servers, self.client, self.folder = servers, client, folder
        self.asks: dict[str, Path] = {}
        self.restless: set[str] = set()
        self._asked = 0

    def prepare(self, texts: Sequence[str]) -> dict[str, float]:
        """Write the requests, warm all servers up, and see what they do when nobody asks: share of
        a core by name."""
        for name, server in self.servers.items():
            wires = [programs.ask(server.program, text) for text in texts]
            self.asks[name] = write_asks(wires, self.folder / f"{name}.json")
            self.ask(name, Load(WARM_UP_S, connections=8))
        before = {name: server.cpu() for name, server in self.servers.items()}
        time.sleep(IDLE_S)
        idle = {
            name: server.cpu().since(before[name]).whole / IDLE_S
            for name, server in self.servers.items()
        }
        self.restless = {name for name, share in idle.items() if share > RESTLESS}
        for name in self.restless:
            self.servers[name].pause()
        return idle

    def interval(self, name: str, load: Load) -> Interval:
        """What one server does while it alone is asked."""
        server = self.servers[name]
        if name in self.restless:
            server.resume()
        before = server.cpu()
        outcomes = self.ask(name, replace(load, seconds=LEAD_S + load.seconds))
        spent = server.cpu().since(before)
        if name in self.restless:
            server.pause()
        return interval(outcomes, LEAD_S, load.seconds, spent)

    def ask(self, name: str, load: Load) -> list[Outcome]:
        """Texts follow on those of the last time."""
        due = poisson(load.rate, load.seconds, seed=self._asked) if load.rate else ()
        job = Job(
            self.servers[name].port, str(self.asks[name]), load.seconds,
            connections=load.connections, due=tuple(due), first=self._asked,
        )  # fmt: skip
        outcomes = self.client.run(job)
        self._asked += len(outcomes)
        return outcomes

    def in_turn(
        self, loads: Mapping[str, Load], rounds: int, tell: Callable[[str], None]
    ) -> dict[str, list[Interval]]:
        """Intervals of each server, by name; all have one before any has another."""
        found: dict[str, list[Interval]] = {name: [] for name in loads}
        for place in range(1, rounds + 1):
            for name, load in loads.items():
                last = self.interval(name, load)
                found[name].append(last)
                tell(
                    f"{place}/{rounds} {name}: {last.per_s:.1f}/s, {last.cpu_ms:.2f} CPU ms, "
                    f"p50 {last.p50_ms:.1f} ms, {last.failed:.0f} failed"
                )
        return found


def started(
    wanted: Iterable[Program],
    folder: Path,
    held: ExitStack,
    tell: Callable[[str], None],
    on: Sequence[int] = (),
) -> dict[str, Server]:
    """Servers that are ready, by name; those that cannot start are told of and left out.

    on: cores that they are kept to.
    """
    begun = [held.enter_context(Server(program, folder, on)) for program in wanted]
    ready = {}
    for server in begun:
        try:
            server.wait_until_ready()
        except Failed as failed:
            tell(f"left out: {failed}")
        else:
            ready[server.name] = server
    return ready


def agreement(servers: Mapping[str, Server], texts: Sequence[str]) -> dict[str, float]:
    """The share of labels in which each server agrees with the first one."""
    said = {name: asyncio.run(_said(server, texts[:COMPARED])) for name, server in servers.items()}
    first = next(iter(said.values()))
    return {name: same(first, labels) for name, labels in said.items()}


async def _said(server: Server, texts: Sequence[str]) -> list[dict[str, str]]:
    connection = Connection(server.port)
    found = []
    for text in texts:
        asked: Ask = programs.ask(server.program, text)
        status, body = await connection.ask(asked.wire)
        if status != 200:
            raise SystemExit(f"{server.name} answers {status}: {body[:500]!r}")
        found.append(labels_of(body, TASKS))
    connection.close()
    return found
