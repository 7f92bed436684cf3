"""Trainings in several processes."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from tests.support.forks import Fork, Forks
from tests.support.processes import wait_until
from trivium.model.weights import read_tensors, read_weights

ALONE_S = 30
"""How long others have to end by themselves where one has failed."""


def recipe_of(
    values: dict[str, Any],
    folder: Path,
    dropout: float = 0.0,
    weighted: bool = False,
    ranked: bool = False,
    **stage: Any,
) -> Path:
    """The tiny three tasks in a file of their own, with or without dropout."""
    encoder = folder / "encoder"
    shutil.copytree(values["encoder"], encoder)
    config = json.loads((encoder / "config.json").read_text())
    config |= {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    (encoder / "config.json").write_text(json.dumps(config))
    heads = {"mood": "linear", "same": "linear", "near": "cosine"}
    tasks = {
        name: task | {"head": {"kind": heads[name], "dropout": dropout}}
        for name, task in values["tasks"].items()
    }
    if ranked:
        tasks["near"] |= {"loss": {"kind": "cosent", "anchor": 0.5}}
    if weighted:
        tasks["mood"] |= {"class_weights": {"up": 10}}
    # A large eps keeps Adam from blowing rounding up to the size of a step.
    plain = {"optimizer": {"kind": "adamw", "eps": 1e-3}, "steps": 9, "evaluate_every": 4}
    stages = [values["stages"][0] | plain | stage]
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(
        values | {"encoder": str(encoder), "tasks": tasks, "stages": stages}
    ))  # fmt: skip
    return path


def torchrun(processes: int, *words: str | Path, restarts: int = 0) -> subprocess.Popen[str]:
    """The real one; it takes three times as long as `together`."""
    start = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    start += [f"--max-restarts={restarts}"] if restarts else []
    return subprocess.Popen(
        [sys.executable, *start, "-m", "trivium", *map(str, words)],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def together(
    forks: Forks,
    processes: int,
    *words: str | Path,
    launch: str = "",
    folders: Sequence[Path] | None = None,
    module: str = "trivium.cli",
) -> tuple[int, str]:
    """Processes that are told of one another as torchrun tells them: a code, and what all said.

    Where one fails, the others are stopped if they do not end by themselves, and the code is its.
    launch: torchrun's name for it; folders: where each process works, if they are to be as on
    different hosts.
    """
    children = start_together(
        forks, processes, *words, launch=launch, folders=folders, module=module
    )
    codes: list[int | None] = []

    def are_done() -> bool:
        codes[:] = [child.poll() for child in children]
        return None not in codes or any(codes)

    wait_until(are_done)
    code = next((code for code in codes if code), 0)
    # Another may be about to say why: the first process speaks for all, whoever ended before it.
    alone = time.monotonic() + ALONE_S
    wait_until(lambda: None not in [c.poll() for c in children] or time.monotonic() > alone)
    for child in children:
        child.send_signal(signal.SIGTERM)
    return code, "".join(child.communicate()[1] for child in children)


def start_together(
    forks: Forks,
    processes: int,
    *words: str | Path,
    launch: str = "",
    folders: Sequence[Path] | None = None,
    module: str = "trivium.cli",
) -> list[Fork]:
    """The same, by rank, without waiting for them."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    world = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    world |= {"TORCHELASTIC_RUN_ID": launch} if launch else {}
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]
    homes: Sequence[Path | None] = folders or [None] * processes
    return [
        forks.start(*words, module=module, environment=os.environ | world | rank, folder=home)
        for rank, home in zip(ranks, homes, strict=True)
    ]


def train(forks: Forks, recipe: Path, run_dir: Path, *more: str) -> str:
    """Two processes train; what they said."""
    code, said = together(forks, 2, "train", recipe, "--out", run_dir, *more)
    assert code == 0, said
    return said


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    model = run_dir / "model"
    return {**read_weights(model), **read_tensors(model / "heads.safetensors")}
