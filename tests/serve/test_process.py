"""A server as a process of its own, on a socket: its start, its end, and clients that misbehave."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import trivium
from tests.support.processes import modules_after, wait_until
from tests.support.serving import ThreadService, served
from tests.support.shell import call
from trivium.apps.serve import running, stalled
from trivium.apps.serve.app import create_app
from trivium.apps.serve.logs import Log
from trivium.apps.serve.settings import Settings

ASK = json.dumps({"rows": {"text": "good cat"}}).encode()


class Running:
    """A server that answers."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.host, self.port = str(urlsplit(url).hostname), int(urlsplit(url).port or 0)

    def ask(self, method: str, path: str, body: bytes | None = None) -> int:
        """Over a connection of its own."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        connection.request(method, path, body)
        status = connection.getresponse().status
        connection.close()
        return status

    def raw(self, sent: bytes, *, finish: bool = True) -> bytes:
        """All that comes back."""
        with socket.create_connection((self.host, self.port), timeout=30) as plain:
            plain.sendall(sent)
            if finish:
                plain.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: plain.recv(65_536), b""))

    def is_ready(self) -> bool:
        return self.ask("GET", "/health/ready") == 200


@contextmanager
def started(run: Path, *flags: str, **environment: str) -> Iterator[Running]:
    command = [sys.executable, "-m", "trivium", "serve", str(run), "--port", "0", *flags]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TRIVIUM_WORKERS": "1", "NO_COLOR": "1"} | environment,
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith("serving: http"), line + process.stderr.read()
        yield Running(process, line.split()[1])
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def test_sigterm_under_load_fails_nobody_and_turns_ready_off_at_once(run: Path) -> None:
    with started(run, "--drain-delay", "3") as server:
        wait_until(server.is_ready)
        stop, outcomes = threading.Event(), []

        def client() -> None:
            connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
            while not stop.is_set():
                connection.request("POST", "/v1/predict", ASK)
                answer = connection.getresponse()
                answer.read()
                outcomes.append(answer.status)
            connection.close()

        clients = [threading.Thread(target=client) for _ in range(4)]
        for each in clients:
            each.start()
        wait_until(lambda: len(outcomes) > 40)
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: server.ask("GET", "/health/ready") == 503)
        before = len(outcomes)
        wait_until(lambda: len(outcomes) > before)  # as long as a balancer may still send some
        stop.set()
        for each in clients:
            each.join()
        assert set(outcomes) == {200}
        assert server.process.wait(30) == 0


@pytest.mark.thorough
def test_a_second_signal_does_not_wait(run: Path) -> None:
    with started(run, "--drain-delay", "60") as server:
        wait_until(server.is_ready)
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not server.is_ready())
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 130


@pytest.mark.thorough
def test_ctrl_c_waits_for_no_balancer(run: Path) -> None:
    with started(run, "--drain-delay", "60") as server:
        assert server.ask("POST", "/v1/predict", ASK) == 200
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(30) == 0


@pytest.fixture(scope="module")
def server(run: Path) -> Iterator[Running]:
    with started(run, "--max-body-bytes", "100000") as found:
        yield found


def test_pipelined_requests_are_answered_in_their_order(server: Running) -> None:
    def one(body: bytes, *, last: bool = False) -> bytes:
        close = b"Connection: close\r\n" if last else b""
        head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n"
        return head % (close, len(body)) + body

    found = server.raw(one(ASK) + one(b"{") + one(ASK, last=True), finish=False)
    statuses = re.findall(rb"HTTP/1.1 (\d+)", found)
    assert statuses == [b"200", b"400", b"200"]


def test_http_of_1996_is_answered(server: Running) -> None:
    found = server.raw(b"GET /health/live HTTP/1.0\r\n\r\n", finish=False)
    assert found.startswith(b"HTTP/1.")
    assert found.endswith(b'{"status":"live"}')


def test_what_is_no_http_ends_the_connection_and_nothing_else(server: Running) -> None:
    assert b"400" in server.raw(b"\x16\x03\x01 this is no request\r\n\r\n")
    assert server.ask("GET", "/health/live") == 200


@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_that_is_too_long_is_answered_even_to_who_sends_all_of_it_first(
    server: Running, chunked: bool
) -> None:
    body = b" " * 400_000
    connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
    parts = iter([body[:200_000], body[200_000:]]) if chunked else body
    connection.request("POST", "/v1/predict", parts, encode_chunked=chunked)
    answer = connection.getresponse()
    assert answer.status == 413
    assert json.loads(answer.read())["error"]["code"] == "too_large"
    connection.close()


def test_who_asks_before_sending_is_refused_before_sending(server: Running) -> None:
    head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
    found = server.raw(head + b"Content-Length: 9999999\r\n\r\n", finish=False)
    assert found.startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("http", [running.PROTOCOL, "h11"])
def test_a_client_that_goes_away_takes_its_request_along(
    model: trivium.Predictor, http: Any
) -> None:
    service = ThreadService(model)
    service.may_go.clear()
    said = StringIO()
    head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(ASK)
    with served(create_app(service, Settings(), Log(said)), http) as url:
        address = (str(urlsplit(url).hostname), int(urlsplit(url).port or 0))
        with socket.create_connection(address) as in_queue:
            in_queue.sendall(head + ASK)
            wait_until(lambda: service.load().queued_rows == 1)
        wait_until(lambda: service.load().queued_rows == 0)
        with socket.create_connection(address) as half:
            half.sendall(head + ASK[:5])
        wait_until(lambda: said.getvalue().count('"status": null') == 2)
    assert not service.calls


def test_a_port_that_is_taken_is_told_before_the_model_is_loaded(run: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, said = call("serve", run, "--port", port)
    assert code == 2
    assert f"--port {port}: cannot be listened to" in said
    assert "Take another port" in said


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--max-rows", "0"], "--max-rows: 0"),
        (["--port", "70000"], "--port: 70000"),
        (["--log-level", "loud"], "--log-level: 'loud'"),
        (["--api-key", "@nowhere"], "--api-key @nowhere: cannot be read"),
        (["--api-key", "two words"], "no blanks"),
        (["--timeout", "nan"], "--timeout: nan"),
    ],
)
def test_a_flag_that_is_wrong_is_named(run: Path, flags: list[str], said: str) -> None:
    code, printed = call("serve", run, *flags)
    assert code == 2
    assert said in printed


def test_a_folder_without_a_model_is_told(tmp_path: Path) -> None:
    code, said = call("serve", tmp_path)
    assert code == 2
    assert "holds no model" in said


def test_the_front_loads_no_torch() -> None:
    found = modules_after("import trivium.apps.serve.app, trivium.apps.serve.running")
    assert "torch" not in found
    assert "fastapi" in found


def test_headers_that_never_end_are_not_waited_for_for_ever(
    model: trivium.Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stalled, "HEADERS_S", 1.0)
    whole = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    app = create_app(ThreadService(model), Settings(), Log(StringIO()))
    with served(app) as url:
        address = (str(urlsplit(url).hostname), int(urlsplit(url).port or 0))
        with (
            socket.create_connection(address, timeout=30) as never,
            socket.create_connection(address, timeout=30) as often,
            socket.create_connection(address, timeout=30) as silent,
        ):
            often.sendall(whole)
            assert b"200 OK" in often.recv(65_536)
            never.sendall(whole[:20])
            assert never.recv(1) == b""  # closed by the server
            for idle in (often, silent):
                idle.sendall(whole)
                assert b"200 OK" in idle.recv(65_536)
