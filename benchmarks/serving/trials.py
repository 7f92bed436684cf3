"""What a server does when too much comes, and when a request brings the computation down."""

import asyncio
import json
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.serving import programs
from benchmarks.serving.answers import COLUMN, POISON, TASKS
from benchmarks.serving.client import Job
from benchmarks.serving.field import Field, Load
from benchmarks.serving.figures import (
    OK,
    Outcome,
    Overload,
    overload,
    percentile,
    regular,
    statuses,
)
from benchmarks.serving.processes import Client, Server, get
from benchmarks.serving.wire import Ask, Connection, write_asks

TIMES = 3
"""As many requests come as can be answered."""
NEIGHBOURS = 16
EVERY_S = 0.05
ROWS = 8
"""Of a request in which one is poisoned."""


def deadline_of(server: Server) -> float:
    """Seconds that our server gives a request."""
    status, body = get(server.port, "/v1/info")
    assert status == 200, body
    return float(json.loads(body)["limits"]["timeout_s"])


def overloaded(field: Field, closed: Load, seconds: float, deadline_s: float) -> Overload:
    """Our server at TIMES its capacity, which is measured just before and once more after."""
    before = field.interval(programs.OURS, closed).per_s
    outcomes = field.ask(programs.OURS, Load(seconds, rate=TIMES * before))
    capacity = (before + field.interval(programs.OURS, closed).per_s) / 2
    return overload(outcomes, seconds, capacity=capacity, deadline_s=deadline_s)


@dataclass(frozen=True, slots=True)
class Poisoned:
    """Good requests beside others that bring the computation down."""

    answered: int
    failed: int
    """Good requests without their answer."""
    statuses: dict[int, int]
    """Of the good ones."""
    poison: dict[int, int]
    """What the others were answered."""
    p99_ms: float
    """Of the good ones."""
    rows_failed: int = 0
    """Good rows without an answer in requests of ROWS rows, one of them with poison."""


def poisoned(server: Server, texts: list[str], folder: Path, seconds: float) -> Poisoned:
    """NEIGHBOURS clients ask without a pause, and every EVERY_S comes a text with poison.

    Its place among those that are computed with it is wherever it happens to come.
    """
    good = [programs.ask(server.program, text) for text in texts]
    bad = [programs.ask(server.program, _poison(text)) for text in texts]
    asks = {name: write_asks(each, folder / f"{name}-{server.name}.json")
            for name, each in (("good", good), ("bad", bad))}  # fmt: skip
    with ExitStack() as held:
        kind, evil = (held.enter_context(Client()) for _ in range(2))
        kind.run(Job(server.port, str(asks["good"]), 0.5, connections=NEIGHBOURS))
        due = tuple(regular(EVERY_S, seconds))
        evil.start(Job(server.port, str(asks["bad"]), seconds, due=due))
        kind.start(Job(server.port, str(asks["good"]), seconds, connections=NEIGHBOURS))
        found = _judged(kind.outcomes(), evil.outcomes())
    if server.name != programs.OURS:
        return found
    return replace(found, rows_failed=asyncio.run(_rows_failed(server, texts)))


async def _rows_failed(server: Server, texts: list[str]) -> int:
    """Of our server: with the poison at every place of a request in turn."""
    connection, failed = Connection(server.port), 0
    for place in range(ROWS):
        rows = [
            {COLUMN: _poison(text) if n == place else text} for n, text in enumerate(texts[:ROWS])
        ]
        asked = Ask.json(server.program.path, {"rows": rows})
        status, body = await connection.ask(asked.wire)
        said = json.loads(body)["answers"] if status in OK else []
        answered = sum(all(task in row for task in TASKS) for row in said)
        failed += len(rows) - 1 - answered
    connection.close()
    return failed


def _poison(text: str) -> str:
    """In the middle of a text."""
    words = text.split()
    return " ".join([*words[: len(words) // 2], POISON, *words[len(words) // 2 :]])


def _judged(good: list[Outcome], bad: list[Outcome]) -> Poisoned:
    answered = [outcome for outcome in good if outcome.status in OK]
    return Poisoned(
        answered=len(answered),
        failed=len(good) - len(answered),
        statuses=statuses(good),
        poison=statuses(bad),
        p99_ms=percentile([1000 * outcome.latency_s for outcome in answered], 0.99),
    )
