"""A disk that fails at the n-th write, for whatever a command writes below a folder.

It is the C library's functions that fail (`faulty.c`), so that no writer is left out, whatever
language it is written in.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("faulty.c")

DRIVER = """
import ctypes, gc, importlib, io, json, os, sys, traceback
import torch, torch._dynamo  # which every AdamW of PyTorch loads when it is made
import trivium.cli, trivium.run.train, trivium.run.predict, trivium.run.evaluate
import trivium.run.ensemble, trivium.run.soup, trivium.run.export_lora, trivium.apps.report
from huggingface_hub import EvalResult, ModelCard, ModelCardData  # for a trained model's card
from trivium.cli import main

for name in sys.argv[1:]:
    importlib.import_module(name)
torch.set_num_threads(1)
disk = ctypes.CDLL(None)
disk.faulty_seen.restype = ctypes.c_long
gc.collect()
gc.freeze()  # what is loaded is looked through in no child
for line in sys.stdin:
    order = json.loads(line)
    reading, writing = os.pipe()
    child = os.fork()  # torch is loaded once
    if child == 0:
        os.close(reading)
        os.dup2(writing, 1); os.dup2(writing, 2)
        sys.argv = ["trivium", *order["command"]]
        home = order["home"].encode()
        disk.faulty_arm(home, ctypes.c_long(order["nth"]), order["error"], order["stays"])
        code = 1
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        except BaseException:
            traceback.print_exc()
            code = 99
        sys.stdout.flush(); sys.stderr.flush()
        os.write(writing, b"\\0%d" % disk.faulty_seen())
        os._exit(code)
    os.close(writing)
    with open(reading, "rb") as heard:
        said, _, seen = heard.read().decode().rpartition("\\0")
    _, status = os.waitpid(child, 0)
    told = {"code": os.waitstatus_to_exitcode(status), "said": said, "seen": int(seen or 0)}
    print(json.dumps(told), flush=True)
"""


@dataclass(frozen=True, slots=True)
class Ended:
    code: int
    said: str
    seen: int
    """How often it wrote below the folder: opened, wrote, synced, renamed or made something."""


class FaultyDisk:
    """Runs commands of `trivium`, each in a process of its own; below `home` writes may fail."""

    def __init__(self, library: Path, home: Path, modules: Sequence[str] = ()) -> None:
        self.home = home
        self._driver = subprocess.Popen(
            [sys.executable, "-c", DRIVER, *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ
            | {
                "LD_PRELOAD": str(library),
                "OMP_NUM_THREADS": "1",
                "NO_COLOR": "1",
                "COLUMNS": "300",
            },
        )

    def run(
        self, command: Sequence[str | Path], nth: int = -1, error: int = 0, *, stays: bool = False
    ) -> Ended:
        """nth: the write that fails, from 0; none if below. stays: so do all after it."""
        assert self._driver.stdin is not None
        assert self._driver.stdout is not None
        order = {
            "command": list(map(str, command)), "home": str(self.home), "nth": nth,
            "error": error, "stays": int(stays),
        }  # fmt: skip
        self._driver.stdin.write(json.dumps(order) + "\n")
        self._driver.stdin.flush()
        return Ended(**json.loads(self._driver.stdout.readline()))

    def close(self) -> None:
        self._driver.communicate()


def faulty_disk(folder: Path, home: Path, modules: Sequence[str] = ()) -> FaultyDisk:
    """folder: for the library; skips where no C compiler can make it. modules: loaded once, too."""
    return FaultyDisk(faulty_library(folder), home, modules)


def faulty_library(folder: Path) -> Path:
    """`faulty.c`, made in a folder; skips where no C compiler can."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("no C compiler, or no Linux: nothing can be put before the C library")
    library = folder / "faulty.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return library
