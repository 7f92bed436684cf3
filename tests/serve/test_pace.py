"""While questions are refused, the front listens in turns; what computes is heard at once."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

import trivium
from tests.support.serving import client_of, waiting
from trivium.apps.serve import pace as paces
from trivium.apps.serve.pace import EVERY_S, Pace
from trivium.apps.serve.refusing import KNOWN_FOR_S

ASK = {"rows": {"text": "good cat"}}
CLIENTS = 8


@pytest.fixture
def pairs() -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    with ExitStack() as held:
        found = [socket.socketpair() for _ in range(CLIENTS)]
        for pair in found:
            for one in pair:
                held.enter_context(one)
        yield found


async def test_all_who_come_in_a_rest_are_answered_before_the_next(
    pairs: list[tuple[socket.socket, socket.socket]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paces, "KEPT_S", 0.1)
    loop, rests, heard = asyncio.get_running_loop(), list[float](), list[int]()

    async def answer() -> None:
        heard.append(len(rests))

    tasks = []

    def read(server: socket.socket) -> None:
        server.recv(1)
        tasks.append(asyncio.ensure_future(answer()))

    def rest(seconds: float) -> bool:
        rests.append(seconds)
        for client, _ in pairs:
            client.sendall(b"?")
        return True

    for _, server in pairs:
        loop.add_reader(server, read, server)
    pace = Pace(rest)
    pace.keep(loop.time())
    while len(rests) < 3 or len(heard) < CLIENTS * len(rests):
        await asyncio.sleep(0)
    for _, server in pairs:
        loop.remove_reader(server)
    assert heard == [place for place in range(1, len(rests) + 1) for _ in pairs]
    assert max(rests) <= EVERY_S


async def test_it_ends_some_time_after_the_last_refusal_and_begins_with_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(paces, "KEPT_S", 0.03)
    loop, rests = asyncio.get_running_loop(), list[float]()

    def rest(seconds: float) -> bool:
        rests.append(seconds)
        return True

    pace = Pace(rest)
    for _ in range(2):
        begun = len(rests)
        pace.keep(loop.time())
        await asyncio.sleep(0.06)
        count = len(rests)
        assert count > begun
        await asyncio.sleep(0.02)
        assert len(rests) == count


async def test_where_it_cannot_rest_it_does_not_go_round_and_round() -> None:
    loop, rests = asyncio.get_running_loop(), list[float]()

    def rest(seconds: float) -> bool:
        rests.append(seconds)
        return False

    begun = loop.time()
    Pace(rest).keep(begun)
    await asyncio.sleep(0.05)
    assert 0 < len(rests) <= 1 + (loop.time() - begun) / EVERY_S


async def test_a_refusal_begins_it_and_who_is_taken_does_not(model: trivium.Predictor) -> None:
    async with client_of(model, most_rows=1) as client:
        loop, rests = asyncio.get_running_loop(), list[float]()

        def rest(seconds: float) -> bool:
            rests.append(seconds)
            return False

        client.app.state.refusals.pace = Pace(rest)
        client.service.may_go.clear()
        first = asyncio.ensure_future(client.ask("/v1/predict", ASK))
        await waiting(client, 1)
        until = loop.time() + 2 * max(KNOWN_FOR_S, EVERY_S)
        await asyncio.sleep(until - loop.time())
        assert not rests
        assert (await client.ask("/v1/predict", ASK)).status_code == 429
        async with asyncio.timeout(10):
            while not rests:
                await asyncio.sleep(0.001)
        client.service.may_go.set()
        assert (await first).status_code == 200
