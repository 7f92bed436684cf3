"""Processes of a measurement: the servers, each with all that it starts, and the client."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil

import trivium
from benchmarks.serving.client import Job, outcomes_of
from benchmarks.serving.figures import Cpu, Outcome

ROOT = Path(__file__).resolve().parents[2]
START_S = 180
STOP_S = 15
LOADED = "loaded"
"""A line of a log."""


class Failed(Exception):  # noqa: N818 an outcome, not an error
    """A server did not start; says what its log ends with."""


def environment(**more: str) -> dict[str, str]:
    """That of a child, which is to run these very sources; threads are for it to choose."""
    kept = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    sources = [str(Path(trivium.__file__).parents[1]), str(ROOT)]
    sources += [kept["PYTHONPATH"]] if "PYTHONPATH" in kept else []
    return kept | {"PYTHONPATH": os.pathsep.join(sources), "HF_HUB_OFFLINE": "1"} | more


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Program:
    """A server that can be started."""

    name: str
    command: tuple[str, ...]
    """All but its port."""
    ready: str
    """What answers 200 when requests can come."""
    path: str
    """Where a text is sent to."""
    told: tuple[tuple[str, str], ...] = ()
    """Names and values that are added to its environment."""
    loaded: int = 0
    """So many of its processes write LOADED into the log when they can answer."""


class Server:
    """A server with all the processes that it starts; stopped when the `with` block ends."""

    def __init__(self, program: Program, folder: Path, on: Sequence[int] = ()) -> None:
        """folder: for its log. on: cores that it is kept to; all, where none is named."""
        self.program, self.name, self.port = program, program.name, free_port()
        self.log = folder / f"{self.name}.log"
        with self.log.open("wb") as out:
            self._process = subprocess.Popen(
                (*program.command, "--port", str(self.port)),
                env=environment(**dict(program.told)), cwd=folder,
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        self._root = _kept(self._process, on)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Ask it to end, then end whatever is left of its processes."""
        left = self.processes()
        self.resume()
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_S)
        for process in left:  # these very processes: psutil knows a number that was used again
            with contextlib.suppress(psutil.Error):
                process.kill()
        self._process.wait()

    def wait_until_ready(self) -> None:
        """Raises Failed where it ends, or takes too long."""
        deadline = time.monotonic() + START_S
        while not self._is_ready():
            if self._process.poll() is not None:
                raise Failed(f"{self.name} ended with {self._process.returncode}:\n{self._tail()}")
            if time.monotonic() > deadline:
                raise Failed(f"{self.name} is not ready after {START_S} s:\n{self._tail()}")
            time.sleep(0.2)

    def _is_ready(self) -> bool:
        if get(self.port, self.program.ready)[0] != 200:
            return False
        return self.log.read_text(errors="replace").split().count(LOADED) >= self.program.loaded

    def pause(self) -> None:
        """Stop its processes where they are, for servers that use the CPU when nobody asks."""
        self._all(psutil.Process.suspend)

    def resume(self) -> None:
        self._all(psutil.Process.resume)

    def _all(self, act: Callable[[psutil.Process], None]) -> None:
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                act(process)

    def processes(self) -> list[psutil.Process]:
        """The one that was started first."""
        try:
            return [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def cpu(self) -> Cpu:
        """What was spent since the start, also by processes that have ended since."""
        front = others = 0.0
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                own = times.user + times.system
                others += times.children_user + times.children_system
                if process == self._root:
                    front += own
                else:
                    others += own
        return Cpu(front, others)

    def rss_mib(self) -> dict[int, float]:
        """Memory of each process by its number, the first one first."""
        found = {}
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                found[process.pid] = process.memory_info().rss / 2**20
        return found

    def _tail(self) -> str:
        text = self.log.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-12:])


def get(port: int, path: str) -> tuple[int, bytes]:
    """Status and body; status 0 where nobody answers yet."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


class Client:
    """The process that asks, used for one job after the other."""

    def __init__(self, on: Sequence[int] = ()) -> None:
        command = [sys.executable, "-m", "benchmarks.serving.client"]
        self._process = subprocess.Popen(
            command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        _kept(self._process, on)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()

    def start(self, job: Job) -> None:
        """Returns at once; read what became of it before the next."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{job.line()}\n")
        self._process.stdin.flush()

    def outcomes(self) -> list[Outcome]:
        """Of the job that was started last, when it is done."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the client ended; what it said of it stands above")
        return outcomes_of(line)

    def run(self, job: Job) -> list[Outcome]:
        self.start(job)
        return self.outcomes()


def _kept(process: "subprocess.Popen[Any]", on: Sequence[int]) -> psutil.Process:
    """A process that was just begun, kept to these cores, with all that it starts."""
    found = psutil.Process(process.pid)
    if on:
        found.cpu_affinity(list(on))
    return found


def imports(python: str, names: Sequence[str]) -> Mapping[str, str]:
    """Packages that an interpreter cannot import, and what it says."""
    missing = {}
    for name in names:
        done = subprocess.run(
            [python, "-c", f"import {name}"], env=environment(), capture_output=True, text=True
        )
        if done.returncode:
            missing[name] = (done.stderr.strip().splitlines() or ["ended without a word"])[-1]
    return missing
