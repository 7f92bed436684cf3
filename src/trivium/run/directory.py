"""The run directory: opened, refused, described."""

import hashlib
import json
import os
import platform
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from trivium.errors import RecipeError
from trivium.recipe import Recipe, dump_recipe, parse_recipe
from trivium.recipe.files import read_yaml
from trivium.run.checkpoint import MODEL, RESUME, write_text
from trivium.run.data import Data
from trivium.run.journal import NAME as JOURNAL

SCORES = "scores.json"
RECIPE = "recipe.yaml"
ENVIRONMENT = "environment.json"
PREDICTIONS = "predictions"
_OURS = [RECIPE, ENVIRONMENT, JOURNAL, SCORES, MODEL, RESUME, PREDICTIONS]


def refuse_unusable(run_dir: Path, *, resume: bool, overwrite: bool) -> None:
    """Refuse, before any work, a folder that training must not or cannot write to."""
    if run_dir.exists() and not run_dir.is_dir():
        raise RecipeError(f"{run_dir}: is a file; name a folder for the run.")
    holds = run_dir.is_dir() and any(run_dir.iterdir())
    is_run = (run_dir / RECIPE).is_file()
    if resume and not is_run:
        raise RecipeError(f"{run_dir}: there is no run to resume. Leave --resume out to start one.")
    if holds and not (resume or overwrite):
        what = "already holds a run" if is_run else "is not empty"
        raise RecipeError(
            f"{run_dir}: {what}. Go on with it (--resume), replace it (--overwrite), "
            "or name another folder."
        )
    if holds and overwrite and not is_run:
        raise RecipeError(f"{run_dir}: is not empty and not a run; --overwrite replaces runs only.")
    _try_writing(run_dir)


def start_run(run_dir: Path, recipe: Recipe, *, overwrite: bool) -> None:
    """Make the folder, with the whole recipe and the environment in it."""
    if overwrite:
        for name in _OURS:
            path = run_dir / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    run_dir.mkdir(parents=True, exist_ok=True)
    write_text(run_dir / RECIPE, dump_recipe(recipe))
    write_text(run_dir / ENVIRONMENT, json.dumps(_environment(), indent=2) + "\n")


def check_same_recipe(run_dir: Path, recipe: Recipe) -> None:
    """Resuming with another recipe would be neither run: refused, with the first difference."""
    old = run_recipe(run_dir).model_dump(mode="json")
    new = recipe.model_dump(mode="json")
    if difference := _difference(old, new):
        raise RecipeError(
            f"{run_dir}: --resume: the recipe is not the one this run began with: {difference}. "
            f"Use {run_dir / RECIPE}, or start a new run."
        )


def run_recipe(run_dir: Path) -> Recipe:
    """The whole recipe a run was started with."""
    path = run_dir / RECIPE
    return parse_recipe(read_yaml(path), str(path))


def data_digest(data: Data) -> str:
    """sha256 of every text and target a run trains and is judged on."""
    digest = hashlib.sha256()
    for task, splits in sorted(data.items()):
        for name, split in sorted(splits.items()):
            digest.update(f"{task}/{name}/{len(split.examples)}".encode())
            for example in split.examples:
                digest.update(repr((example.texts, example.target)).encode())
    return digest.hexdigest()


def _try_writing(run_dir: Path) -> None:
    place = run_dir
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise RecipeError(f"{run_dir}: {place} is a file, so no folder can be made in it.")
    probe = place / f".trivium-{os.getpid()}"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise RecipeError(f"{run_dir}: cannot be written to: {error.strerror}.") from error


def _difference(old: Any, new: Any, place: str = "") -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            if found := _difference(old.get(key), new.get(key), f"{place}.{key}".strip(".")):
                return found
        return ""
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (a, b) in enumerate(zip(old, new, strict=True)):
            if found := _difference(a, b, f"{place}.{index}"):
                return found
        return ""
    return "" if old == new else f"{place} was {old!r} and is now {new!r}"


def _environment() -> dict[str, Any]:
    packages = ["trivium", "torch", "tokenizers", "safetensors", "numpy", "torchmetrics"]
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "packages": {name: version(name) for name in packages},
        "command": sys.argv,
    }
