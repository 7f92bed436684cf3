"""`trivium` at a shell, in processes of their own, of which none needs to load PyTorch again.

Loading takes longer than most that a test asks of a process. A server loads everything once and
forks; what it forks is a process like any other: it has its number, its environment and its files,
hears signals, can be killed, and takes its locks with it.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tests.support.processes import PATIENCE_S

ROOT = Path(__file__).parents[2]

LOADED = """
import torch, torch._dynamo  # which every AdamW of PyTorch loads when it is made
import trivium.cli, trivium.run.train, trivium.run.predict, trivium.run.evaluate
from huggingface_hub import EvalResult, ModelCard, ModelCardData  # for a trained model's card
"""

SERVER = """
import gc, importlib, json, os, signal, sys, traceback
import torch

torch.set_num_threads(1)

def begin(order):
    reading = os.open(os.devnull, os.O_RDONLY)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    writing = [os.open(path, flags, 0o600) for path in order["files"]]
    for number, file in enumerate([reading, *writing]):
        os.dup2(file, number)
        os.close(file)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = [order["module"], *order["words"]]
    code = 1
    try:
        importlib.import_module(order["module"]).main()
        code = 0
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        traceback.print_exc()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)

signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C at a terminal is for the tests
gc.collect()
gc.freeze()
for line in sys.stdin:
    order = json.loads(line)
    if "words" in order:
        child = os.fork()
        if child == 0:
            begin(order)
        told = child
    else:
        child, status = os.waitpid(order["ended"], os.WNOHANG)
        told = os.waitstatus_to_exitcode(status) if child else None
    print(json.dumps(told), flush=True)
"""


class Fork:
    """A process, as `subprocess.Popen` would have it; what it says goes into two files."""

    def __init__(self, server: "Forks", pid: int, output: Path, errors: Path) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._server, self._output, self._errors = server, output, errors

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._server.order({"ended": self.pid})
        return self.returncode

    def wait(self, timeout: float = PATIENCE_S) -> int:
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            assert time.monotonic() < deadline, "it does not end"
            time.sleep(0.01)
        return code

    def communicate(self, timeout: float = PATIENCE_S) -> tuple[str, str]:
        """All that it wrote to its standard output and errors, once it has ended."""
        self.wait(timeout)
        return self._output.read_text(), self._errors.read_text()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(9)


class Forks:
    """Starts processes of `trivium`; what they say lies in `folder`."""

    def __init__(self, folder: Path, loaded: str = LOADED) -> None:
        """loaded: Python, run once."""
        self._folder, self._begun = folder, 0
        self._server = subprocess.Popen(
            [sys.executable, "-c", loaded + SERVER],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    def order(self, order: Mapping[str, object]) -> int | None:
        writing, reading = self._server.stdin, self._server.stdout
        assert writing is not None
        assert reading is not None
        writing.write(json.dumps(order) + "\n")
        writing.flush()
        told: int | None = json.loads(reading.readline())
        return told

    def start(
        self,
        *words: str | Path,
        module: str = "trivium.cli",
        environment: Mapping[str, str] | None = None,
        output: Path | None = None,
        errors: Path | None = None,
        folder: Path | None = None,
    ) -> Fork:
        """Start the module's `main` with these words. output, errors: files to write to instead;
        folder: where it works, by default here."""
        self._begun += 1
        files = [
            output or self._folder / f"{self._begun}.out",
            errors or self._folder / f"{self._begun}.err",
        ]
        order = {
            "module": module,
            "words": list(map(str, words)),
            "files": list(map(str, files)),
            "folder": str(folder or os.getcwd()),
            "environment": dict(os.environ if environment is None else environment),
        }
        pid = self.order(order)
        assert pid is not None
        return Fork(self, pid, *files)

    def finish(self, *words: str | Path) -> str:
        """What it said among its errors, where progress goes; fails where it failed."""
        fork = self.start(*words)
        _, errors = fork.communicate()
        assert fork.returncode == 0, errors
        return errors

    def close(self) -> None:
        self._server.communicate()
