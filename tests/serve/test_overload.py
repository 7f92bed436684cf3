"""More comes than can be answered: what is refused at once, and what that must not change."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import trivium
from tests.support.serving import Client, client_of, number, waiting
from trivium.apps.serve.asks import Load
from trivium.apps.serve.refusing import KNOWN_FOR_S, Refusals
from trivium.apps.serve.settings import Settings

ASK = {"rows": {"text": "good cat"}}
QUESTIONS = {
    "/v1/predict": "/v1/predict",
    "/v1/embeddings": "/v1/embeddings",
    "/v1/tasks/mood/predict": "/v1/tasks/{task}/predict",
    "/v2/models/tiny/infer": "/v2/models/{name}/infer",
}


@asynccontextmanager
async def full(model: trivium.Predictor, **settings: Any) -> AsyncIterator[Client]:
    """A server whose queue holds one row, which waits as long as the block lasts."""
    given = Settings(name="tiny", **settings)
    async with client_of(model, given, most_rows=1) as client:
        client.service.may_go.clear()
        key = {"authorization": "Bearer key"} if given.api_keys else {}
        first = asyncio.ensure_future(client.ask("/v1/predict", ASK, **key))
        await waiting(client, 1)
        await asyncio.sleep(2 * KNOWN_FOR_S)
        yield client
        client.service.may_go.set()
        assert (await first).status_code == 200


@pytest.mark.parametrize("path", QUESTIONS)
async def test_what_is_refused_at_once_reads_as_what_the_route_would_say(
    model: trivium.Predictor, path: str
) -> None:
    async with full(model) as client:
        at_once = await client.post(path, content=b"not JSON")
        # Whoever brings a time of his own is seen by the route.
        by_route = await client.post(path, content=b"", headers={"x-request-timeout": "60"})
        lines = [json.loads(line) for line in client.said.getvalue().splitlines()]
        counted = await number(
            client, "trivium_requests_total", route=QUESTIONS[path], status="429"
        )
    assert (at_once.status_code, at_once.content) == (429, by_route.content)
    assert by_route.status_code == 429
    for answer in (at_once, by_route):
        del answer.headers["x-request-id"]
    assert at_once.headers == by_route.headers
    assert at_once.headers["retry-after"] == "1"
    assert counted == 2
    told = [{k: line[k] for k in ("status", "route", "code", "method")} for line in lines[:2]]
    wanted = {"status": 429, "route": QUESTIONS[path], "code": "queue_full", "method": "POST"}
    assert told == [wanted, wanted]


async def test_nothing_but_the_headers_is_looked_at(
    model: trivium.Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def receive() -> Any:
        raise AssertionError("the body was asked for")

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async with full(model) as client:
        monkeypatch.setattr(client.app.router, "app", None)  # and no route is looked for
        scope = {
            "type": "http", "method": "POST", "path": "/v1/predict", "raw_path": b"/v1/predict",
            "query_string": b"", "root_path": "", "headers": [(b"x-request-id", b"mine-7")],
        }  # fmt: skip
        await client.app(scope, receive, send)
        monkeypatch.undo()
    assert sent[0]["status"] == 429
    assert (b"x-request-id", b"mine-7") in sent[0]["headers"]
    assert json.loads(sent[1]["body"])["error"]["code"] == "queue_full"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/info", 200, None),
        ("GET", "/metrics", 200, None),
        ("GET", "/v1/predict", 405, "method_not_allowed"),
        ("POST", "/v1/nowhere", 404, "not_found"),
        ("POST", "/v1/tasks/nothing/predict", 404, "unknown_task"),
        ("POST", "/v2/models/other/infer", 404, "unknown_model"),
    ],
)
async def test_what_is_no_question_is_answered_as_ever(
    model: trivium.Predictor, method: str, path: str, status: int, code: str | None
) -> None:
    async with full(model) as client:
        answer = await client.request(method, path)
    assert answer.status_code == status
    if code:
        told = answer.json()
        assert (told if path.startswith("/v2/") else told["error"])["code"] == code


async def test_without_its_key_a_request_hears_nothing_of_the_queue(
    model: trivium.Predictor,
) -> None:
    async with full(model, api_keys=("key",)) as client:
        without = await client.ask("/v1/predict", ASK)
        with_key = await client.ask("/v1/predict", ASK, authorization="Bearer key")
    assert (without.status_code, with_key.status_code) == (401, 429)


async def test_a_server_that_stops_or_has_no_process_says_that_instead(
    model: trivium.Predictor,
) -> None:
    async with full(model) as client:
        client.service.workers = 0
        await asyncio.sleep(2 * KNOWN_FOR_S)
        gone = await client.ask("/v1/predict", ASK)
        client.service.workers = 1
        client.app.state.front.is_draining = True
        draining = await client.ask("/v1/predict", ASK)
        client.app.state.front.is_draining = False
    assert (gone.status_code, gone.json()["error"]["code"]) == (503, "not_ready")
    assert draining.headers["connection"] == "close"


async def test_who_comes_when_there_is_room_again_is_taken(model: trivium.Predictor) -> None:
    async with client_of(model, most_rows=1) as client:
        client.service.may_go.clear()
        first = asyncio.ensure_future(client.ask("/v1/predict", ASK))
        await waiting(client, 1)
        await asyncio.sleep(2 * KNOWN_FOR_S)
        assert (await client.ask("/v1/predict", ASK)).status_code == 429
        client.service.may_go.set()
        assert (await first).status_code == 200
        await asyncio.sleep(2 * KNOWN_FOR_S)
        assert (await client.ask("/v1/predict", ASK)).status_code == 200


async def test_no_more_seconds_of_work_wait_than_were_allowed(model: trivium.Predictor) -> None:
    # The stand-in says 1,000 tokens a second, and 4 tokens wait: 4 ms.
    for max_wait_s, status in ((0.005, 422), (0.003, 429)):
        settings = Settings(name="tiny", max_wait_s=max_wait_s)
        async with client_of(model, settings) as client:
            client.service.may_go.clear()
            first = asyncio.ensure_future(client.ask("/v1/predict", ASK))
            await waiting(client, 1)
            await asyncio.sleep(2 * KNOWN_FOR_S)
            assert (await client.ask("/v1/predict", {})).status_code == status
            client.service.may_go.set()
            await first


async def test_who_has_less_time_is_refused_where_others_still_wait(
    model: trivium.Predictor,
) -> None:
    async with client_of(model) as client:
        client.service.may_go.clear()
        first = asyncio.ensure_future(client.ask("/v1/predict", ASK))
        await waiting(client, 1)  # 4 ms of work
        hasty = await client.ask("/v1/predict", ASK, x_request_timeout="0.006")
        patient = await client.ask("/v1/predict", {}, x_request_timeout="0.5")
        client.service.may_go.set()
        await first
    assert (hasty.status_code, patient.status_code) == (429, 422)


async def test_the_queue_is_looked_at_no_more_often_than_it_changes(
    model: trivium.Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with client_of(model) as client:
        refusals, looks = Refusals(client.app.state.front), list[Load]()
        load = client.service.load

        def look() -> Load:
            looks.append(load())
            return looks[-1]

        monkeypatch.setattr(client.service, "load", look)
        scope = {"type": "http", "method": "POST", "path": "/v1/predict", "headers": []}
        for now in (1.0, 1.001, 1.002, 1.1, 1.101):
            assert refusals.of(scope, now) is None
    assert len(looks) == 2
