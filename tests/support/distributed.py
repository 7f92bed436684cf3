"""Trainings in several processes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import yaml

from tests.support.processes import PATIENCE_S
from trivium.model.weights import read_tensors, read_weights


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


def launch(processes: int, recipe: Path, run_dir: Path, *more: str) -> subprocess.Popen[str]:
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    start = torchrun if processes > 1 else []
    command = [sys.executable, *start, "-m", "trivium", "train", str(recipe), "--out", str(run_dir)]
    return subprocess.Popen(
        [*command, *more], env=os.environ | {"OMP_NUM_THREADS": "1"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def train(processes: int, recipe: Path, run_dir: Path, *more: str) -> str:
    child = launch(processes, recipe, run_dir, *more)
    _, errors = child.communicate(timeout=PATIENCE_S)
    assert child.returncode == 0, errors
    return errors


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    model = run_dir / "model"
    return {**read_weights(model), **read_tensors(model / "heads.safetensors")}
