"""Which servers there are to be measured, and what a text is to each of them."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.serving.answers import COLUMN
from benchmarks.serving.processes import Program
from benchmarks.serving.wire import Ask

OURS = "ours"
SAME_ENGINE = ("lit_ours", "lit_ours_all", "lit_ours_eager")
"""LitServe with our engine: one process that computes, one per core, and one that waits for no
batch, and so polls all the time."""
LIT_BF16 = ("lit_bf16", "lit_bf16_all")
PIPELINES = {"pipelines_fp32": "fp32", "pipelines_bf16": "bf16"}
NAMES = (OURS, *SAME_ENGINE, *LIT_BF16, *PIPELINES)
QUICK = (OURS, "lit_ours", "lit_bf16", "pipelines_bf16")
"""For a look at whether the program works."""
NEEDED = {"lit": ("litserve", "torch", "transformers"), "pipelines": ("fastapi", "uvicorn")}
"""Packages, by how a server's name begins."""


@dataclass(frozen=True, slots=True)
class Folders:
    """Where the models are."""

    run: Path
    peers: Path


def cores() -> list[int]:
    """That this process may use."""
    if sys.platform == "linux":
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def programs(folders: Folders, workers: int, python: str) -> dict[str, Program]:
    """All that can be measured, by name. python: the interpreter of the peers.

    Every process that computes has one thread.
    """
    run, peers, every = str(folders.run), str(folders.peers), ("--workers", str(workers))
    lit = [python, "-m", "benchmarks.serving.lit_ours", run]
    bf16 = [python, "-m", "benchmarks.serving.lit_transformers", peers]
    pipes = [python, "-m", "uvicorn", "benchmarks.serving.pipelines:app", "--factory", *every]
    pipes += ["--log-level", "warning", "--no-access-log"]
    found = {
        "lit_ours": _peer("lit_ours", lit),
        "lit_ours_all": _peer("lit_ours_all", [*lit, *every]),
        "lit_ours_eager": _peer("lit_ours_eager", [*lit, "--window", "0"]),
        "lit_bf16": _peer("lit_bf16", bf16),
        "lit_bf16_all": _peer("lit_bf16_all", [*bf16, *every]),
    }
    for name, precision in PIPELINES.items():
        told = (("BENCHMARK_FOLDER", peers), ("BENCHMARK_PRECISION", precision))
        found[name] = replace(_peer(name, pipes), told=told, loaded=workers)
    return {OURS: ours(folders.run, workers)} | found


def ours(run: Path, workers: int) -> Program:
    """`trivium serve`, from this interpreter."""
    serve = [sys.executable, "-m", "trivium", "serve", str(run), "--host", "127.0.0.1"]
    return Program(
        OURS, (*serve, "--workers", str(workers)), ready="/health/ready", path="/v1/predict"
    )


def _peer(name: str, command: Sequence[str]) -> Program:
    return Program(name, tuple(command), ready="/health", path="/predict")


def ask(program: Program, text: str) -> Ask:
    """All tasks about one text, with the probabilities of all labels, as the peers give them."""
    if program.name == OURS:
        return Ask.json(program.path, {"rows": [{COLUMN: text}], "probabilities": True})
    return Ask.json(program.path, {"inputs": text})
