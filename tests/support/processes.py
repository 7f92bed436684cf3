"""Processes of their own: waited for, and asked what they loaded."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

PATIENCE_S = 600
"""How long a test waits for what a process of its own is to do: only what hangs is a failure."""


class Process(Protocol):
    """What can be asked whether it has ended."""

    def poll(self) -> int | None: ...


def wait_until(true: Callable[[], object], process: Process | None = None) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None, "it ended too early"
        time.sleep(0.005)


def newest(resume: Path) -> int:
    """How many checkpoints a run has saved in this folder: older ones are deleted."""
    return max((int(path.name) for path in resume.glob("0*")), default=0)


HEAVY = [
    "torch",
    "torch._dynamo",
    "pydantic",
    "transformers",
    "pyarrow",
    "numpy",
    "tokenizers",
    "huggingface_hub",
    "yaml",
    "optuna",
    "matplotlib",
    "sklearn",
    "scipy",
    "sympy",
    "networkx",
    "pandas",
    "plotly",
]


def modules_after(code: str) -> set[str]:
    """All that a fresh interpreter has imported after running `code`."""
    script = f"{code}\nimport json, sys\nprint(json.dumps(list(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def loaded_after(code: str) -> list[str]:
    """Heavy packages among them."""
    found = modules_after(code)
    return [name for name in HEAVY if name in found]
