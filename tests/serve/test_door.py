"""A full queue on a real socket: questions are refused before they become requests."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import StringIO
from threading import Thread
from typing import Any

import httpx
import pytest

import trivium
from tests.support.processes import PATIENCE_S, wait_until
from tests.support.serving import ThreadService, served
from trivium.apps.serve import frame
from trivium.apps.serve.app import create_app
from trivium.apps.serve.logs import Log
from trivium.apps.serve.refusing import KNOWN_FOR_S
from trivium.apps.serve.settings import MAX_HEAD_BYTES, Settings

pytest.importorskip("httptools", reason="without it uvicorn hears requests in another way")

ASK = {"rows": {"text": "good cat"}}
BODY = json.dumps(ASK).encode()


@dataclass
class Full:
    """A server whose queue holds one row, which waits."""

    url: str
    service: ThreadService
    said: StringIO
    taken: list[Any]
    """What became of those that were taken: filled when `go` was called and they were answered."""

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.said.getvalue().splitlines()]

    def wire(self, path: str = "/v1/predict", body: bytes = BODY, *headers: str) -> bytes:
        head = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers]
        return "\r\n".join([*head, "", ""]).encode() + body

    def connected(self) -> socket.socket:
        host, port = self.url.removeprefix("http://").split(":")
        return socket.create_connection((host, int(port)), timeout=10)


@contextmanager
def full(model: trivium.Predictor, **settings: Any) -> Iterator[Full]:
    service, said = ThreadService(model, most_rows=1), StringIO()
    given = Settings(name="tiny", **settings)
    service.may_go.clear()
    headers = {"authorization": "Bearer key"} if given.api_keys else {}
    with served(create_app(service, given, Log(said))) as url:
        found = Full(url, service, said, [])

        def ask() -> None:
            found.taken.append(
                httpx.post(f"{url}/v1/predict", json=ASK, headers=headers, timeout=PATIENCE_S)
            )

        first = Thread(target=ask)
        first.start()
        wait_until(lambda: service.load().queued_rows == 1)
        time.sleep(2 * KNOWN_FOR_S)
        yield found
        service.may_go.set()
        first.join()
    assert found.taken[0].status_code == 200


def read(connection: socket.socket, answers: int) -> list[tuple[int, dict[str, str], bytes]]:
    """Status, headers and body of so many answers on one connection."""
    file, found = connection.makefile("rb"), []
    for _ in range(answers):
        status = int(file.readline().split()[1])
        headers = {}
        while (line := file.readline().strip()) != b"":
            name, _, value = line.decode().partition(": ")
            headers[name.lower()] = value
        found.append((status, headers, file.read(int(headers["content-length"]))))
    return found


@pytest.mark.parametrize(
    ("path", "known"),
    [("/v1/predict", "/v1/predict"), ("/v2/models/tiny/infer", "/v2/models/{name}/infer")],
)
def test_a_refusal_at_the_door_reads_as_any_other(
    model: trivium.Predictor, path: str, known: str
) -> None:
    with full(model) as server, server.connected() as connection:
        connection.sendall(server.wire(path))
        (door,) = read(connection, 1)
        connection.sendall(server.wire(path, BODY, "X-Request-Timeout: 60"))
        (route,) = read(connection, 1)
        assert "retry-after" in door[1]
        for each in (door, route):
            assert len(each[1].pop("x-request-id")) == 16
            assert each[1].pop("date")
        assert door == route
        assert door[0] == 429
        wait_until(lambda: len(server.lines) == 2)
        at_door, by_route = server.lines
        for name in ("event", "level", "method", "route", "status", "code"):
            assert at_door[name] == by_route[name]
        text = httpx.get(f"{server.url}/metrics").text
        assert f'trivium_requests_total{{route="{known}",status="429"}} 2.0' in text
        assert 'trivium_rejected_total{reason="queue_full"} 2.0' in text


def test_a_connection_goes_on_after_a_refusal_whatever_its_body_was(
    model: trivium.Predictor,
) -> None:
    with full(model) as server, server.connected() as connection:
        for body in (b"", BODY, b"x" * 300_000):
            connection.sendall(server.wire("/v1/predict", body, "X-Request-Id: mine-7"))
            ((status, headers, _),) = read(connection, 1)
            assert (status, headers["x-request-id"]) == (429, "mine-7")
        # In one piece: two questions, of which the second is answered after the first.
        connection.sendall(server.wire() + server.wire())
        assert [status for status, _, _ in read(connection, 2)] == [429, 429]
        chunked = "POST /v1/predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(chunked.encode() + b"5\r\nhello\r\n0\r\n\r\n")
        assert [status for status, _, _ in read(connection, 1)] == [429]
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert [status for status, _, _ in read(connection, 1)] == [200]
        server.service.may_go.set()
        wait_until(lambda: server.service.load().queued_rows == 0)
        time.sleep(2 * KNOWN_FOR_S)
        connection.sendall(server.wire())
        assert [status for status, _, _ in read(connection, 1)] == [200]


def test_a_question_behind_one_that_waits_on_its_connection_waits_for_it(
    model: trivium.Predictor,
) -> None:
    with full(model) as server, server.connected() as connection:
        # The first is left to its route, which refuses it a moment later; answers keep their order.
        first = server.wire("/v1/predict", BODY, "X-Request-Timeout: 60", "X-Request-Id: a")
        connection.sendall(first + server.wire("/v1/predict", BODY, "X-Request-Id: b"))
        assert [headers["x-request-id"] for _, headers, _ in read(connection, 2)] == ["a", "b"]


@pytest.mark.parametrize("header", ["Connection: close", "Expect: 100-continue"])
def test_what_is_not_plain_is_left_to_uvicorn(model: trivium.Predictor, header: str) -> None:
    with full(model) as server, server.connected() as connection:
        connection.sendall(server.wire("/v1/predict", BODY, header))
        ((status, headers, _),) = read(connection, 1)
        assert status == 429
        if "close" in header:
            assert headers["connection"] == "close"
            assert connection.recv(1) == b""


def test_a_time_that_is_none_is_told_before_the_queue(model: trivium.Predictor) -> None:
    with full(model) as server, server.connected() as connection:
        connection.sendall(server.wire("/v1/predict", BODY, "X-Request-Timeout: soon"))
        assert [status for status, _, _ in read(connection, 1)] == [400]


def test_where_keys_or_origins_matter_nothing_is_refused_at_the_door(
    model: trivium.Predictor,
) -> None:
    with full(model, api_keys=("key",)) as server:
        assert httpx.post(f"{server.url}/v1/predict", json=ASK).status_code == 401
    with full(model, allow_origin=("*",)) as server:
        origin = {"origin": "https://app.example"}
        answer = httpx.post(f"{server.url}/v1/predict", json=ASK, headers=origin)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (429, "*")


def test_an_id_that_is_none_is_replaced(model: trivium.Predictor) -> None:
    with full(model) as server, server.connected() as connection:
        connection.sendall(server.wire("/v1/predict", BODY, "X-Request-Id: not mine\xff"))
        ((status, headers, _),) = read(connection, 1)
    assert status == 429
    assert headers["x-request-id"].isalnum()


def test_what_is_refused_at_the_door_never_becomes_a_request(
    model: trivium.Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: Any) -> None:
        raise AssertionError("it came through the door")

    with full(model) as server, server.connected() as connection:
        monkeypatch.setattr(frame.Frame, "__call__", never)
        connection.sendall(server.wire())
        assert [status for status, _, _ in read(connection, 1)] == [429]
        monkeypatch.undo()


@pytest.fixture(scope="module")
def address(model: trivium.Predictor) -> Iterator[tuple[str, int]]:
    """Of a server with room."""
    with served(create_app(ThreadService(model), Settings(name="tiny"), Log(StringIO()))) as url:
        host, port = url.removeprefix("http://").split(":")
        yield host, int(port)


HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\n"
ENDLESS = b"X-Long: " + b"a" * 2 * MAX_HEAD_BYTES


LONG = b"a" * (MAX_HEAD_BYTES - 200)


@pytest.mark.parametrize(
    ("sent", "piece", "statuses"),
    [
        (HEAD + ENDLESS + b"\r\n\r\n", 10**6, [431]),
        (HEAD + b"X-One: 1\r\n" * 20_000 + b"\r\n", 10**6, [431]),
        (HEAD.replace(b"predict", 2 * LONG) + b"\r\n", 10**6, [431]),
        (HEAD + ENDLESS, 10_000, [431]),
        (HEAD.replace(b"predict", 2 * LONG), 10_000, [431]),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + ENDLESS, 10_000, [431]),
        (HEAD + b"Content-Length: 4\r\n\r\nnone" + HEAD + ENDLESS, 10_000, [400, 431]),
        (HEAD + b"X-Long: " + LONG + b"\r\nContent-Length: 0\r\n\r\n", 10_000, [400]),
        (HEAD + b"Content-Length: 300000\r\n\r\n" + b" " * 300_000, 10_000, [400]),
    ],
    ids=["header", "headers", "url", "no end", "url's", "trailer's", "second's", "long", "body"],
)
def test_a_head_that_is_too_long_is_told_so_and_what_else_is_long_is_not(
    address: tuple[str, int], sent: bytes, piece: int, statuses: list[int]
) -> None:
    with socket.create_connection(address, timeout=5) as connection:
        with suppress(OSError):  # once the server has closed it
            for at in range(0, len(sent), piece):
                connection.sendall(sent[at : at + piece])
                time.sleep(0.001)
        try:
            found = read(connection, len(statuses))
        except (
            ConnectionError,
            IndexError,
        ):  # an answer that was thrown away with what was sent after it
            assert statuses[-1] == 431
            return
    assert [status for status, _, _ in found] == statuses
    if statuses[-1] == 431:
        assert found[-1][1]["connection"] == "close"
        assert json.loads(found[-1][2])["error"]["code"] == "long_headers"
