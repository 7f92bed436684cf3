"""Connections on which nothing moves: which are closed, and when."""

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from trivium.apps.serve.settings import HEADERS_S, KEEP_ALIVE_S, READ_AT_END_S, READ_S
from trivium.apps.serve.stalled import close_the_stalled


@dataclass(eq=False)
class Connection:
    """As uvicorn's, of which an answer was sent."""

    left: int = 0
    is_silent: bool = False
    cycle: Any = None
    timeout_keep_alive_task: Any = None
    ended: list[str] = field(default_factory=list)

    @property
    def transport(self) -> Any:
        return SimpleNamespace(
            get_write_buffer_size=lambda: self.left,
            abort=lambda: self.ended.append("abort"),
            close=lambda: self.ended.append("close"),
        )


class Clock:
    """An event loop's time, and what happens while a server sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, reads: Connection) -> None:
        self.now, self.reads, self.most = 0.0, reads, 0.0
        monkeypatch.setattr(asyncio, "sleep", self.sleep)
        monkeypatch.setattr(asyncio, "get_running_loop", lambda: self)

    def time(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        if self.now >= self.most:
            raise asyncio.CancelledError
        self.now += seconds
        self.reads.left -= 1

    async def until(self, seconds: float, connections: list[Connection], **given: bool) -> None:
        self.most = seconds
        with pytest.raises(asyncio.CancelledError):
            await close_the_stalled(connections, lambda: given.get("is_ending", False))


@pytest.mark.parametrize("is_ending", [False, True])
async def test_an_answer_of_which_nothing_is_read_is_given_up_and_sooner_at_the_end(
    monkeypatch: pytest.MonkeyPatch, is_ending: bool
) -> None:
    kept, idle = Connection(left=10**6), Connection(timeout_keep_alive_task=object())
    slow, busy = Connection(left=1000), Connection(cycle=SimpleNamespace(response_complete=False))
    clock, all_ = Clock(monkeypatch, slow), [kept, idle, slow, busy]
    limit = READ_AT_END_S if is_ending else READ_S
    await clock.until(limit, all_, is_ending=is_ending)
    assert not kept.ended
    clock.now = 0.0
    await clock.until(limit + HEADERS_S, all_, is_ending=is_ending)
    assert kept.ended[0] == "abort"
    assert not idle.ended + slow.ended + busy.ended


async def test_a_head_has_less_time_than_who_has_sent_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    head, silent = Connection(), Connection(is_silent=True)
    clock = Clock(monkeypatch, Connection())
    await clock.until(2 * HEADERS_S, [head, silent])
    assert (head.ended[0], silent.ended) == ("close", [])
    clock.now = 0.0
    await clock.until(KEEP_ALIVE_S + HEADERS_S, [silent])
    assert silent.ended[0] == "close"
