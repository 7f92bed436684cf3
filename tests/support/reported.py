"""Finished runs written by hand, for reports: all that a report reads, and no model."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from trivium.parts.tasks import Task
from trivium.recipe import dump_recipe, parse_recipe
from trivium.run.folder.journal import Journal
from trivium.run.folder.predictions import write_predictions
from trivium.run.folder.scores import TaskScores
from trivium.run.predictor.scoring import overall, score
from trivium.run.rows.splits import Split
from trivium.types import Example

STARS = ["awful", "bad", "fair", "good", "great"]


TAGS = ["price", "taste", "place"]


HOSTILE = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(2)> \"double\" 'single' `back` & &lt;b&gt;",
    "שלום עולם, مرحبا بالعالم 🙂👩‍👩‍👧",
    "w" * 600,
    "<b>bold</b> <a href='javascript:alert(3)'>link</a> %{text} {{ 7 * 7 }}",
]


RECIPE: dict[str, Any] = {
    "encoder": "minilm",
    "data": "gone",
    "tasks": {
        "stars": {
            "kind": "classification", "text": "text", "label": "stars",
            "labels": dict(enumerate(STARS)), "train": "a.csv", "dev": "b.csv",
        },
        "tags": {
            "kind": "multilabel", "text": "text", "label": "tags", "labels": TAGS,
            "train": "a.csv", "dev": "b.csv",
        },
        "near": {
            "kind": "regression", "text": ["first", "second"], "label": "near", "range": [0, 5],
            "train": "c.csv", "dev": "d.csv",
        },
    },
    "stages": [{"name": "early"}, {"name": "late"}],
}  # fmt: skip


def write_run(
    folder: Path,
    seed: int = 0,
    rows: int = 60,
    texts: list[str] | None = None,
    stars: Sequence[str] = STARS,
) -> Path:
    """A run whose answers depend on the seed, but whose rows do not. stars: labels of a task."""
    folder.mkdir(parents=True)
    (folder / "predictions").mkdir()
    (folder / "model").mkdir()
    (folder / "model" / "model.safetensors").write_bytes(b"0" * 1000)
    tasks = {**RECIPE["tasks"]}
    tasks["stars"] = tasks["stars"] | {"labels": dict(enumerate(stars))}
    recipe = parse_recipe(RECIPE | {"tasks": tasks, "seed": seed})
    (folder / "recipe.yaml").write_text(dump_recipe(recipe))
    scores: TaskScores = {}
    for name, task in recipe.tasks.items():
        split = _split(task, rows, texts or [])
        readout_BK = _readout(task, rows, seed)
        scores[name] = {"dev": score(task, readout_BK, split)}
        write_predictions(folder / "predictions" / f"{name}-dev.csv", task, readout_BK, split)
    told = {
        "tasks": scores,
        "overall": overall(recipe.tasks, scores),
        "precision": "fp32",
        "cost": {
            "seconds": 12.5, "tokens_per_s": 1000.0, "peak_memory_bytes": 2**30,
            "parameters": 1234, "trained_parameters": 1000,
        },
        "selected": {"stage": "late", "step": 20, "by": "overall"},
    }  # fmt: skip
    (folder / "scores.json").write_text(json.dumps(told))
    told = {"python": "3.11", "packages": {"torch": "2.6.0+cpu"}, "command": ["x", "train", "r"]}
    (folder / "environment.json").write_text(json.dumps(told))
    _write_journal(folder, scores)
    return folder


def answers_in(folder: Path, task: str) -> list[dict[str, str]]:
    """The rows of a predictions file."""
    with (folder / "predictions" / f"{task}-dev.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _split(task: Task, rows: int, texts: list[str]) -> Split:
    """Texts of 1 to 12 words; labels in turn."""
    examples = []
    for row in range(rows):
        words = " ".join(f"word{(row * 7 + place) % 40}" for place in range(1 + row % 12))
        first = texts[row] if row < len(texts) else words
        each = (first, f"second {row}") if task.is_pair else (first,)
        target: Any = {"stars": row * row % 5, "tags": tuple({row % 3, row % 2}), "near": row % 6}
        examples.append(Example(each, target[task.name], row + 2))
    return Split("dev", (), examples)


def _readout(task: Task, rows: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    output_BK = 2 * torch.randn(rows, task.outputs, generator=generator)
    if task.name == "near":
        output_BK = torch.rand(rows, 1, generator=generator)
    return task.readout(output_BK)


def _write_journal(folder: Path, scores: TaskScores) -> None:
    journal = Journal(folder)
    for number, stage in enumerate(("early", "late")):
        journal.write("stage", stage=stage, steps=20, tasks=list(scores))
        for step in range(1, 21):
            losses = dict.fromkeys(scores, 1 / (step + 20 * number))
            told: dict[str, Any] = {"losses": losses, "lr": 1.0, "norm": 1.0}
            if step % 2 == 0:
                pairs = {"stars|near": 0.5, "near|tags": -0.25}
                told |= {"cosines": pairs, "layer_cosines": {"embeddings": pairs, "layer 0": pairs}}
            journal.write("step", stage=stage, step=step, rows=8, tokens=80, **told)
            if step % 10 == 0:
                journal.write(
                    "evaluation", stage=stage, step=step, scores=scores, overall=0.5, kept=True,
                    seconds=step + 20.0 * number,
                )  # fmt: skip
    journal.close()
