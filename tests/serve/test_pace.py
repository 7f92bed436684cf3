"""While questions are refused, the front listens in turns; what computes is heard at once."""

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from threading import Thread
from typing import Any

import httpx
import pytest

import trivium
from tests.support.processes import PATIENCE_S, wait_until
from tests.support.serving import ThreadService, client_of, waiting
from trivium.apps.serve import pace as paces
from trivium.apps.serve import running
from trivium.apps.serve.pace import EVERY_S, Pace
from trivium.apps.serve.refusing import KNOWN_FOR_S
from trivium.apps.serve.settings import Settings

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
    monkeypatch.setattr(paces, "KEPT_S", 60)
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
    monkeypatch.setattr(paces, "KEPT_S", 0.3)
    loop, rests = asyncio.get_running_loop(), list[float]()

    def rest(seconds: float) -> bool:
        rests.append(seconds)
        return True

    pace = Pace(rest)
    for _ in range(2):
        begun = len(rests)
        pace.keep(loop.time())
        await asyncio.sleep(0.6)
        count = len(rests)
        assert count > begun
        await asyncio.sleep(0.1)
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


class Resting(ThreadService):
    """Counts how often it is asked to rest."""

    rests = 0

    def rest(self, seconds: float) -> bool:
        self.rests += 1
        return super().rest(seconds)


def test_a_server_whose_event_loop_is_its_own_keeps_the_pace_and_its_log_is_whole(
    model: trivium.Predictor,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    servers, said = list[running.Server](), list[str]()

    class Kept(running.Server):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            servers.append(self)

    monkeypatch.setattr(running, "Server", Kept)
    service = Resting(model, most_rows=1)
    settings = Settings(name="tiny", port=0)
    thread = Thread(target=running.serve, args=(lambda: service, settings, said.append))
    thread.start()
    wait_until(lambda: bool(said))
    service.may_go.clear()
    asked = {"json": ASK, "timeout": PATIENCE_S}
    first = Thread(target=httpx.post, args=(f"{said[0]}/v1/predict",), kwargs=asked)
    first.start()
    wait_until(lambda: service.load().queued_rows == 1)
    time.sleep(2 * KNOWN_FOR_S)
    assert not service.rests
    assert httpx.post(f"{said[0]}/v1/predict", json=ASK).status_code == 429
    wait_until(lambda: service.rests > 0)
    service.may_go.set()
    first.join()
    servers[0].should_exit = True
    thread.join()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["status"] for line in lines if line["event"] == "request"] == [429, 200]
