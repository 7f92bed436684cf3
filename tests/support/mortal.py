"""Trainings that die at a chosen moment, by SIGKILL or with the power, under a clock that is wrong.

A process that has PyTorch loaded forks one child per process of the training, so that a try costs
what is trained in it. The library of `faulty.c` ends them.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.faulty import faulty_library

DRIVER = """
import ctypes, gc, json, os, signal, sys, traceback
import torch
import trivium.cli, trivium.run.train
from huggingface_hub import EvalResult, ModelCard, ModelCardData  # for a trained model's card
from trivium.cli import main

torch.set_num_threads(1)
disk = ctypes.CDLL(None)
disk.faulty_calls.restype = ctypes.c_long

def live(order, rank, writing):
    os.dup2(writing, 1); os.dup2(writing, 2)
    sys.argv = ["trivium", *order["command"]]
    os.environ |= order["environment"] | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    end = order["end"]
    if rank == 0:
        nth = 2**40 if end["nth"] is None else end["nth"]
        disk.faulty_die(order["home"].encode(), ctypes.c_long(nth), end["torn"], end["power"])
    if end["after_us"] is not None and end["rank"] in (None, rank):
        disk.faulty_die_after(ctypes.c_long(end["after_us"]))
    disk.faulty_clock(ctypes.c_long(order["clock"]))
    code = 1
    try:
        main()
    except SystemExit as stop:
        code = stop.code or 0
    except BaseException:
        traceback.print_exc()
        code = 99
    sys.stdout.flush(); sys.stderr.flush()
    if rank == 0:
        os.write(writing, b"\\0%d" % disk.faulty_calls())
    os._exit(code)

gc.collect()
gc.freeze()  # what is loaded is looked through in no child
for line in sys.stdin:
    order = json.loads(line)
    reading, writing = os.pipe()
    children = []
    for rank in range(order["processes"]):
        children.append(os.fork())
        if children[-1] == 0:
            os.close(reading)
            live(order, rank, writing)
    os.close(writing)
    codes = {}
    while len(codes) < len(children):
        child, status = os.wait()
        codes[child] = os.waitstatus_to_exitcode(status)
        if codes[child] != 0:  # as torchrun ends the others
            for other in set(children) - set(codes):
                os.kill(other, signal.SIGKILL)
    with open(reading, "rb") as heard:
        said, _, calls = heard.read().decode(errors="replace").partition("\\0")
    told = {"codes": [codes[child] for child in children], "said": said, "calls": int(calls or 0)}
    print(json.dumps(told), flush=True)
"""


@dataclass(frozen=True, slots=True)
class End:
    """When a process dies; by default it does not."""

    nth: int | None = None
    """Before which call of the first process that changes something below the folder, from 0."""
    torn: bool = False
    """Whether half of what that call was to write is written."""
    power: bool = False
    """Whether what was not synced is lost."""
    after_us: int | None = None
    """After so many microseconds."""
    rank: int | None = None
    """The process that dies then; None: all."""


@dataclass(frozen=True, slots=True)
class Lived:
    codes: list[int]
    """By process; below 0: the signal that ended it."""
    said: str
    calls: int
    """That changed something below the folder; 0 where it was killed."""


@dataclass(slots=True)
class Mortals:
    """Runs `trivium` in processes that are to die; `home` is all that they write."""

    library: Path
    home: Path
    _driver: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        environment = os.environ | {
            "LD_PRELOAD": str(self.library), "OMP_NUM_THREADS": "1", "NO_COLOR": "1",
            "COLUMNS": "300",
        }  # fmt: skip
        self._driver = subprocess.Popen(
            [sys.executable, "-c", DRIVER],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip

    def run(
        self,
        command: Sequence[str | Path],
        end: End = End(),
        *,
        processes: int = 1,
        clock_s: int = 0,
    ) -> Lived:
        """clock_s: by how much the clock on the wall is wrong."""
        assert self._driver.stdin is not None
        assert self._driver.stdout is not None
        environment = {"WORLD_SIZE": "1"} if processes == 1 else _meeting(processes)
        order = {
            "command": list(map(str, command)), "home": str(self.home), "clock": clock_s,
            "processes": processes, "environment": environment,
            "end": {name: getattr(end, name) for name in End.__dataclass_fields__},
        }  # fmt: skip
        self._driver.stdin.write(json.dumps(order) + "\n")
        self._driver.stdin.flush()
        return Lived(**json.loads(self._driver.stdout.readline()))

    def close(self) -> None:
        self._driver.communicate()


def mortals(folder: Path, home: Path) -> Mortals:
    """folder: for the library; skips where no C compiler can make it."""
    return Mortals(faulty_library(folder), home)


def _meeting(processes: int) -> dict[str, str]:
    """What torchrun tells the processes that it starts."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return {
        "WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
