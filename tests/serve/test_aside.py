"""Large bodies, in their thread: who waits for it is bound as whoever waits in the queue."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

import trivium
from tests.support import serving
from tests.support.serving import client_of, waiting
from trivium.apps.serve import routes
from trivium.apps.serve.asks import Draining
from trivium.apps.serve.checks import check_rows
from trivium.apps.serve.presence import CLIENT
from trivium.apps.serve.presence import Client as Asking
from trivium.apps.serve.settings import BODIES_ASIDE, OFF_LOOP_BYTES, Settings

LARGE = {"rows": {"text": "good cat " + " " * OFF_LOOP_BYTES}}
SIZE = OFF_LOOP_BYTES + 100
"""Bytes that are more than LARGE has."""
SETTINGS = Settings(name="tiny", max_body_bytes=SIZE)


@asynccontextmanager
async def held(client: serving.Client) -> AsyncIterator[Callable[[], None]]:
    """A server whose thread for what is large is at work until it is told to go on."""
    go = threading.Event()
    client.app.state.front._aside._thread.submit(go.wait, 60)
    try:
        yield go.set
    finally:
        go.set()


async def begun(client: serving.Client, bodies: int) -> None:
    """Wait until so many wait for the thread."""
    while client.app.state.front._aside._waiting < bodies * OFF_LOOP_BYTES:
        await asyncio.sleep(0.001)


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The rows that were looked at."""
    seen: list[Any] = []

    def looked_at(rows: Any, *given: Any) -> Any:
        seen.append(rows)
        return check_rows(rows, *given)

    monkeypatch.setattr(routes, "check_rows", looked_at)
    return seen


async def test_a_deadline_holds_there_too_and_what_is_late_is_not_begun(
    model: trivium.Predictor, checks: list[Any]
) -> None:
    async with asyncio.timeout(30), client_of(model, SETTINGS) as client:
        async with held(client):
            late = await client.ask("/v1/predict", LARGE, x_request_timeout="0.05")
        assert (await client.ask("/v1/predict", LARGE)).status_code == 200
    assert (late.status_code, late.json()["error"]["code"]) == (504, "too_late")
    assert len(checks) == 1


async def test_no_more_bytes_wait_there_than_are_allowed(model: trivium.Predictor) -> None:
    async with asyncio.timeout(30), client_of(model, SETTINGS) as client, held(client) as go:
        some = [
            asyncio.ensure_future(client.ask("/v1/predict", LARGE)) for _ in range(BODIES_ASIDE)
        ]
        await begun(client, BODIES_ASIDE)
        refused = await client.ask("/v1/predict", LARGE)
        small = await client.ask("/v1/predict", {"rows": {"text": "good cat"}})
        go()
        taken = {(await each).status_code for each in some}
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "queue_full")
    assert int(refused.headers["retry-after"]) >= 1
    assert (small.status_code, taken) == (200, {200})


async def test_who_would_wait_there_for_too_long_is_told_at_once(model: trivium.Predictor) -> None:
    async with asyncio.timeout(30), client_of(model, SETTINGS) as client:
        client.app.state.front._aside._speed.add(OFF_LOOP_BYTES, 2.0)
        async with held(client) as go:
            first = asyncio.ensure_future(client.ask("/v1/predict", LARGE))
            await begun(client, 1)
            hasty = await client.ask("/v1/predict", LARGE, x_request_timeout="3.9")
            patient = asyncio.ensure_future(
                client.ask("/v1/predict", LARGE, x_request_timeout="20")
            )
            await begun(client, 2)
            go()
            assert [(await each).status_code for each in (first, patient)] == [200, 200]
    assert (hasty.status_code, hasty.headers["retry-after"]) == (429, "3")


async def test_for_who_leaves_before_the_thread_comes_to_him_nothing_is_done(
    model: trivium.Predictor, checks: list[Any]
) -> None:
    async with asyncio.timeout(30), client_of(model, SETTINGS) as client:
        asking = Asking()
        async with asked_by(asking, client) as other, held(client):
            answer = asyncio.ensure_future(other.post("/v1/predict", json=LARGE))
            await begun(client, 1)
            asking.goes()
            await gone(answer)
        assert (await client.ask("/v1/predict", LARGE)).status_code == 200
        assert [*client.service.calls] == [1]
    assert len(checks) == 1


async def test_who_left_meanwhile_is_not_queued(
    model: trivium.Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with asyncio.timeout(30), client_of(model, SETTINGS) as client:
        asking, splits = Asking(), client.app.state.front._split

        def left(*given: Any) -> Any:
            asking.is_gone = True  # with nothing to be cancelled: the thread's work is done
            return splits(*given)

        monkeypatch.setattr(client.app.state.front, "_split", left)
        async with asked_by(asking, client) as other:
            await gone(asyncio.ensure_future(other.post("/v1/predict", json=LARGE)))
        assert not client.service.load().queued_rows
        assert not client.service.calls


@asynccontextmanager
async def asked_by(asking: Asking, client: serving.Client) -> AsyncIterator[httpx.AsyncClient]:
    """A client of whom the server is told when he goes."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await client.app({**scope, CLIENT: asking}, receive, send)

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as other:
        yield other


async def gone(answer: "asyncio.Future[httpx.Response]") -> None:
    """Wait until the server is through with a request that it answers no more."""
    with pytest.raises(AssertionError):  # httpx misses the answer
        await answer


async def test_who_still_waits_when_the_server_ends_hears_that_it_does(
    model: trivium.Predictor,
) -> None:
    async with client_of(model) as client:
        client.service.may_go.clear()
        first = asyncio.ensure_future(client.ask("/v1/predict", {"rows": {"text": "good cat"}}))
        await waiting(client, 1)
        (ticket,) = client.service._waiting
        ticket.answers.set_exception(Draining())
        answer = await first
        client.service.may_go.set()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "draining")
    assert int(answer.headers["retry-after"]) >= 1
