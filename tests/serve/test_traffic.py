"""Queue, deadlines, keys, log and metrics: what happens to requests beside being answered."""

import asyncio
import json
import logging
from io import StringIO
from typing import Any

import pytest

import trivium
from tests.support.serving import client_of, number, waiting
from trivium.apps.serve.logs import Log, LogHandler
from trivium.apps.serve.settings import Settings

ASK = {"rows": {"text": "good cat"}}
SECRET = "tr1v1um-k3y"
KEYED = Settings(name="tiny", api_keys=("other", SECRET))


async def test_a_full_queue_says_when_to_come_back(model: trivium.Predictor) -> None:
    async with client_of(model, most_rows=2) as client:
        client.service.may_go.clear()
        first = [asyncio.ensure_future(client.ask("/v1/predict", ASK)) for _ in range(2)]
        await waiting(client, 2)
        refused = await client.ask("/v1/predict", ASK)
        assert await number(client, "trivium_queue_rows") == 2
        client.service.may_go.set()
        assert [(await each).status_code for each in first] == [200, 200]
        assert (await client.ask("/v1/predict", ASK)).status_code == 200
        assert await number(client, "trivium_rejected_total", reason="queue_full") == 1
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1


async def test_who_would_wait_for_half_of_his_time_is_refused_before_his_body_is_read(
    model: trivium.Predictor,
) -> None:
    # The stand-in says 1,000 tokens a second, and 4 tokens wait: 4 ms.
    for timeout_s, status in ((10.0, 400), (0.005, 429)):
        settings = Settings(name="tiny", timeout_s=timeout_s)
        async with client_of(model, settings) as client:
            client.service.may_go.clear()
            first = asyncio.ensure_future(client.ask("/v1/predict", ASK, x_request_timeout="60"))
            await waiting(client, 1)
            assert client.service.load().queued_tokens == 4
            refused = await client.post("/v1/predict", content=b"not JSON")
            assert refused.status_code == status
            client.service.may_go.set()
            await first


async def test_what_the_queue_can_never_hold_is_too_large_not_too_many(
    model: trivium.Predictor,
) -> None:
    async with client_of(model, most_rows=2) as client:
        rows = await client.ask("/v1/predict", {"rows": [ASK["rows"]] * 3})
    async with client_of(model, most_tokens=10) as client:
        tokens = await client.ask("/v1/predict", {"rows": {"text": "cat " * 40}})
    for answer in (rows, tokens):
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


@pytest.mark.parametrize("header", ["0.05", None])
async def test_a_request_ends_at_its_deadline(model: trivium.Predictor, header: Any) -> None:
    settings = Settings(name="tiny", timeout_s=3600.0 if header else 0.05)
    async with asyncio.timeout(60), client_of(model, settings) as client:
        client.service.may_go.clear()
        headers = {"x_request_timeout": header or "3600"}
        late = await client.ask("/v1/predict", ASK, **headers)
        assert not client.service.calls
        client.service.may_go.set()
    assert (late.status_code, late.json()["error"]["code"]) == (504, "too_late")


@pytest.mark.parametrize("header", ["soon", "-1", "0", "nan", "inf", ""])
async def test_a_deadline_that_is_none_is_refused(model: trivium.Predictor, header: str) -> None:
    async with client_of(model) as client:
        answer = await client.ask("/v1/predict", ASK, x_request_timeout=header)
    assert answer.status_code == 400
    assert answer.json()["error"]["details"][0]["where"] == "header x-request-timeout"


async def test_a_body_that_does_not_come_is_not_waited_for(model: trivium.Predictor) -> None:
    async def slowly() -> Any:
        yield b'{"rows"'
        await asyncio.sleep(5)
        yield b": 1}"

    async with client_of(model, Settings(name="tiny", timeout_s=0.05)) as client:
        answer = await client.post("/v1/predict", content=slowly())
    assert (answer.status_code, answer.headers["connection"]) == (408, "close")


async def test_nothing_is_taken_while_no_process_is_up(model: trivium.Predictor) -> None:
    async with client_of(model) as client:
        client.service.workers = 0
        answer = await client.ask("/v1/predict", ASK)
        health = await client.get("/health/ready")
    assert answer.status_code == health.status_code == 503
    assert answer.headers["retry-after"] == "1"


async def test_what_drains_tells_balancers_at_once_and_still_answers(
    model: trivium.Predictor,
) -> None:
    async with client_of(model) as client:
        assert (await client.get("/health/ready")).status_code == 200
        client.app.state.front.is_draining = True
        assert (await client.get("/health/ready")).status_code == 503
        assert (await client.get("/v2/health/ready")).status_code == 503
        assert (await client.get("/health/live")).status_code == 200
        answer = await client.ask("/v1/predict", ASK)
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        client.service.drain()
        refused = await client.ask("/v1/predict", ASK)
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= 1


async def test_a_server_that_only_a_restart_helps_is_not_alive(model: trivium.Predictor) -> None:
    async with client_of(model) as client:
        client.service.alive = False
        assert (await client.get("/health/live")).status_code == 503
        assert (await client.get("/v2/health/live")).status_code == 503


@pytest.mark.parametrize("key", [None, "Bearer wrong", f"Basic {SECRET}", "Bearer ", SECRET])
async def test_a_key_that_is_wrong_is_refused_before_the_body_is_read(
    model: trivium.Predictor, key: str | None
) -> None:
    async with client_of(model, KEYED) as client:
        headers = {"authorization": key} if key is not None else {}
        for path in ("/v1/predict", "/v1/info", "/openapi.json", "/v2", "/nowhere"):
            answer = await client.post(path, content=b"no json", headers=headers)
            assert answer.status_code == 401, path
            assert answer.headers["www-authenticate"].startswith("Bearer")
        for path in ("/health/live", "/health/ready", "/v2/health/ready", "/metrics", "/"):
            assert (await client.get(path, headers=headers)).status_code == 200, path


async def test_any_of_the_keys_opens_the_server(model: trivium.Predictor) -> None:
    async with client_of(model, KEYED) as client:
        for key in ("other", SECRET):
            answer = await client.ask("/v1/predict", ASK, authorization=f"Bearer {key}")
            assert answer.status_code == 200
        schema = await client.get("/openapi.json", headers={"authorization": "bearer other"})
        assert schema.json()["paths"]["/v1/predict"]["post"]["security"] == [{"key": []}]
    async with client_of(model, KEYED.model_copy(update={"metrics_key": True})) as client:
        assert (await client.get("/metrics")).status_code == 401
        assert SECRET not in client.said.getvalue()


async def test_a_line_is_logged_of_every_request_without_its_texts(
    model: trivium.Predictor,
) -> None:
    async with client_of(model) as client:
        await client.ask("/v1/predict", ASK, x_request_id="mine-7")
        await client.ask("/v1/predict", {"rows": {"text": 7}}, x_request_id="not mine\x7f")
        await client.get("/v1/nowhere/good")
        lines = [json.loads(line) for line in client.said.getvalue().splitlines()]
    assert [each["status"] for each in lines] == [200, 422, 404]
    assert lines[0]["id"] == "mine-7"
    assert " " not in lines[1]["id"]
    assert (lines[0]["route"], lines[0]["rows"]) == ("/v1/predict", 1)
    assert lines[0]["tokens"] == 4
    assert lines[1]["code"] == "invalid"
    assert lines[2]["route"] == "none"
    assert "good" not in client.said.getvalue()


def test_a_log_that_nobody_reads_any_more_is_no_reason_not_to_answer() -> None:
    gone = StringIO()
    gone.close()
    Log(gone).write("info", {"event": "request"})
    LogHandler(Log(gone)).handle(logging.makeLogRecord({"levelno": 30, "msg": "a worker died"}))


async def test_texts_are_logged_where_that_is_asked_for(model: trivium.Predictor) -> None:
    async with client_of(model, Settings(name="tiny", log_texts=True)) as client:
        await client.ask("/v1/predict", ASK)
        (line,) = client.said.getvalue().splitlines()
    assert json.loads(line)["texts"] == {"mood": [["good cat"]]}


async def test_an_id_comes_back_or_is_made(model: trivium.Predictor) -> None:
    async with client_of(model) as client:
        given = await client.get("/v1/info", headers={"x-request-id": "a-1"})
        made = [(await client.get("/nowhere")).headers["x-request-id"] for _ in range(2)]
    assert given.headers["x-request-id"] == "a-1"
    assert made[0] != made[1]


async def test_a_mistake_of_ours_is_one_error_and_shows_no_text(
    model: trivium.Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with client_of(model) as client:

        def broken(*_: Any) -> Any:
            raise ValueError(" ".join(["good", "cat"]))

        monkeypatch.setattr(client.service, "ask", broken)
        answer = await client.ask("/v1/predict", ASK)
        said = client.said.getvalue()
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")
    assert "good cat" not in answer.text + said
    assert "ValueError" in said
    assert answer.headers["x-request-id"] in said


async def test_metrics_count_routes_rows_and_refusals(model: trivium.Predictor) -> None:
    async with client_of(model) as client:
        for _ in range(3):
            await client.ask("/v1/predict", ASK)
        await client.ask("/v1/predict", {})
        route = {"route": "/v1/predict"}
        assert await number(client, "trivium_requests_total", status="200", **route) == 3
        assert await number(client, "trivium_request_seconds_count", **route) == 4
        assert await number(client, "trivium_rejected_total", reason="wrong") == 1
        assert await number(client, "trivium_asked_rows_total") == 3
        assert await number(client, "trivium_batches_total") == 3
        assert await number(client, "trivium_workers") == 1
        assert await number(client, "trivium_ready") == 1


async def test_head_is_get_without_its_body(model: trivium.Predictor) -> None:
    async with client_of(model) as client:
        for path in ("/health/ready", "/v1/info", "/"):
            head, get = await client.head(path), await client.get(path)
            assert (head.status_code, head.content) == (200, b"")
            assert head.headers["content-length"] == get.headers["content-length"]
        assert (await client.head("/v1/predict")).status_code == 405


async def test_pages_from_elsewhere_may_ask_only_where_that_is_said(
    model: trivium.Predictor,
) -> None:
    asked = {"origin": "https://app.example", "access-control-request-method": "POST"}
    async with client_of(model) as client:
        closed = await client.options("/v1/predict", headers=asked)
    settings = Settings(name="tiny", allow_origin=("https://app.example",), api_keys=("k",))
    async with client_of(model, settings) as client:
        opened = await client.options("/v1/predict", headers=asked)
        refused = await client.ask("/v1/predict", ASK, origin="https://app.example")
        other = await client.options("/v1/predict", headers=asked | {"origin": "https://no"})
    assert closed.status_code == 405
    assert "access-control-allow-origin" not in closed.headers
    assert opened.headers["access-control-allow-origin"] == "https://app.example"
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://app.example"
    assert "access-control-allow-origin" not in other.headers
