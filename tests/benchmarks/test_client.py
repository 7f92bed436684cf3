"""The client and the servers' processes: what is sent, what is counted, what is ended."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from benchmarks.serving.client import Job, Run
from benchmarks.serving.figures import NO_ANSWER, Outcome
from benchmarks.serving.processes import STOP_S, Client, Failed, Program, Server, free_port
from benchmarks.serving.wire import Ask, Connection, read_asks, write_asks

from tests.support.processes import wait_until

Answer = Callable[[bytes], Awaitable[bytes]]
"""A request's body to the whole answer, or nothing where the socket is to be closed."""
ASKS = [Ask.json("/predict", {"inputs": text}) for text in ("one", "two", "three")]


def answer(body: bytes, status: int = 200, more: str = "") -> bytes:
    head = f"HTTP/1.1 {status} any\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


async def echo(body: bytes) -> bytes:
    return answer(body)


async def served(reply: Answer, ask: Callable[[int], Awaitable[object]]) -> int:
    """Do something with a server's port; how many sockets it was asked through."""
    handlers: list[asyncio.Task[None]] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.append(task)
        try:
            while said := await _answered(reader, reply):
                writer.write(said)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client went away
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    port = free_port()
    server = await asyncio.start_server(handle, "127.0.0.1", port)
    await ask(port)
    await asyncio.gather(*handlers)
    server.close()
    await server.wait_closed()
    return len(handlers)


async def _answered(reader: asyncio.StreamReader, reply: Answer) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    assert head.startswith(b"post /predict http/1.1\r\n")
    length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
    return await reply(await reader.readexactly(length))


def outcomes(job: Callable[[int], Job], reply: Answer = echo) -> tuple[list[Outcome], int]:
    """Of a job, and through how many sockets it was done."""
    found: list[Outcome] = []

    async def ask(port: int) -> None:
        found.extend(await Run(job(port)).outcomes())

    return found, asyncio.run(served(reply, ask))


@pytest.fixture
def asks(tmp_path: Path) -> str:
    return str(write_asks(ASKS, tmp_path / "asks.json"))


# --- the wire ----------------------------------------------------------------------------------
def test_any_bytes_reach_the_client_s_process(tmp_path: Path) -> None:
    asks = [Ask("/a", bytes(range(256))), Ask.json("/b", {"text": "café 🙂"})]
    assert read_asks(write_asks(asks, tmp_path / "asks.json")) == asks


def test_a_connection_is_kept_and_opened_again_when_the_server_closed_it() -> None:
    said: list[tuple[int, bytes]] = []
    answers = [answer(b"a"), answer(b"b", 422, "Connection: close\r\n"), answer(b"c"), b"", b"d"]

    async def reply(body: bytes) -> bytes:
        found = answers.pop(0)
        return answer(b"d") if found == b"d" else found

    async def ask(port: int) -> None:
        connection = Connection(port)
        said.extend([await connection.ask(ASKS[0].wire) for _ in range(4)])
        connection.close()

    assert asyncio.run(served(reply, ask)) == 3
    assert said == [(200, b"a"), (422, b"b"), (200, b"c"), (200, b"d")]


# --- the closed loop ---------------------------------------------------------------------------
def test_clients_of_a_closed_loop_wait_for_their_answers_and_send_texts_in_turn(asks: str) -> None:
    most = now = 0

    async def slow(body: bytes) -> bytes:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.02)
        now -= 1
        return answer(body)

    found, sockets = outcomes(lambda port: Job(port, asks, 0.2, connections=3, first=1), slow)
    assert most == sockets == 3
    assert [each.which for each in found[:3]] == [1, 2, 0]
    assert all(each.status == 200 and each.latency_s >= 0.019 for each in found)
    assert all(each.due_s < 0.2 for each in found)
    assert len(found) <= 3 * 11


def test_a_server_that_closes_its_sockets_is_no_answer(asks: str) -> None:
    async def closing(body: bytes) -> bytes:
        return b""

    found, _ = outcomes(lambda port: Job(port, asks, 0.1, connections=2), closing)
    assert {each.status for each in found} == {NO_ANSWER}
    assert 2 <= len(found) <= 2 * 3, "it is not hammered"


# --- the open loop -----------------------------------------------------------------------------
@pytest.mark.thorough
def test_requests_of_an_open_loop_are_sent_when_they_are_due_whoever_waits(asks: str) -> None:
    """A server that stalls delays nobody's sending, and costs everybody the wait from when the
    request was due."""
    stalled = True

    async def stalling(body: bytes) -> bytes:
        nonlocal stalled
        if stalled:
            stalled = False
            await asyncio.sleep(3)
        return answer(body, 429 if b"two" in body else 200)

    due = (0.0, 0.5, 1.0, 1.5)
    found, sockets = outcomes(lambda port: Job(port, asks, 2.0, due=due), stalling)
    by_due = sorted(found, key=lambda each: each.due_s)
    assert tuple(each.due_s for each in by_due) == due
    assert [each.status for each in by_due] == [200, 429, 200, 200]
    assert by_due[0].latency_s >= 2.9
    assert all(each.latency_s < 1.4 for each in by_due[1:])
    assert sockets == 2, "one is used again"


def test_a_client_that_is_late_counts_that_as_latency(asks: str) -> None:
    """As when it was busy: all of these were due at once, and one is sent after the other."""

    async def late(port: int) -> list[Outcome]:
        run = Run(Job(port, asks, 0.1, due=(0.0,)))
        task = asyncio.create_task(run.outcomes())
        await asyncio.sleep(0)
        time.sleep(0.1)
        return await task

    found: list[Outcome] = []

    async def ask(port: int) -> None:
        found.extend(await late(port))

    asyncio.run(served(echo, ask))
    assert found[0].latency_s >= 0.1


def test_a_request_that_takes_too_long_is_given_up(asks: str) -> None:
    async def never(body: bytes) -> bytes:
        await asyncio.sleep(0.3)
        return answer(body)

    found, _ = outcomes(lambda port: Job(port, asks, 0.1, due=(0.0,), patience_s=0.05), never)
    assert [each.status for each in found] == [NO_ANSWER]


# --- processes ---------------------------------------------------------------------------------
SERVER = """
import http.server, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        end = time.thread_time() + 0.03
        while time.thread_time() < end: pass
        self.do_GET()
    def log_message(self, *_): pass
print("loaded", flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
"""


def is_over(process: psutil.Process) -> bool:
    """Whoever adopts a child whose parent has ended may take its time to bury it."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def program(code: str, loaded: int = 0) -> Program:
    return Program("any", (sys.executable, "-c", code), "/health", "/predict", loaded=loaded)


def test_a_server_is_asked_measured_and_ended_with_all_that_it_started(
    asks: str, tmp_path: Path
) -> None:
    with Server(program(SERVER, loaded=1), tmp_path) as server, Client() as client:
        server.wait_until_ready()
        processes = server.processes()
        assert len(processes) == len(server.rss_mib()) == 2
        before = server.cpu()
        found = client.run(Job(server.port, asks, 0.1, due=(0.0, 0.05, 0.1)))
        spent = server.cpu().since(before)
        assert [each.status for each in found] == [200, 200, 200]
        assert 0.05 < spent.front <= spent.whole < 5
    wait_until(lambda: all(map(is_over, processes)))


def test_a_paused_server_is_still_ended(tmp_path: Path) -> None:
    with Server(program(SERVER), tmp_path) as server:
        server.wait_until_ready()
        processes = server.processes()
        server.pause()
        wait_until(lambda: {each.status() for each in processes} == {psutil.STATUS_STOPPED})
        began = time.monotonic()
    assert time.monotonic() - began < STOP_S, "it heard that it was to end"
    wait_until(lambda: all(map(is_over, processes)))


def test_a_server_that_ends_says_why(tmp_path: Path) -> None:
    code = "raise SystemExit('there is no model')"
    with (
        Server(program(code), tmp_path) as server,
        pytest.raises(Failed, match=r"any ended with 1:\nthere is no model"),
    ):
        server.wait_until_ready()
