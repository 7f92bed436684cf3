"""Folders of finished runs written by hand: answers that a test chooses, and no model."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trivium.parts.tasks import Task
from trivium.recipe import Recipe, dump_recipe, parse_recipe
from trivium.run.folder.predictions import write_predictions
from trivium.run.folder.scores import TaskScores
from trivium.run.predictor.scoring import overall, score
from trivium.run.rows.splits import Split
from trivium.types import Example, Target

COST = {"seconds": 10.0, "peak_memory_bytes": 2**30, "parameters": 1000}


MOOD = {"kind": "classification", "text": "text", "label": "l", "labels": ["down", "up"]}


NEAR = {"kind": "regression", "text": ["a", "b"], "label": "l", "range": [0, 5]}


TAGS = {"kind": "multilabel", "text": "text", "label": "l", "labels": ["x", "y", "z"]}


TASKS: dict[str, dict[str, Any]] = {"mood": MOOD, "near": NEAR, "tags": TAGS}


Said = tuple[Sequence[Target], Tensor]
"""Targets of the rows, and what was said of them: readout_BK."""


def recipe_of(tasks: Sequence[str], seed: int = 0, **settings: Any) -> Recipe:
    chosen = {name: TASKS[name] for name in tasks}
    return parse_recipe({"encoder": "none", "tasks": chosen, "seed": seed, **settings})


def split_of(task: Task, targets: Sequence[Target], first: int = 0) -> Split:
    """Rows whose texts tell their number."""
    texts = [tuple(f"{c} {row + first}" for c in task.text_columns) for row in range(len(targets))]
    pairs = enumerate(zip(texts, targets, strict=True))
    return Split("dev", (), [Example(each, target, row + 2) for row, (each, target) in pairs])


def write_run(
    folder: Path,
    said: Mapping[str, Said],
    *,
    seed: int = 0,
    cost: Mapping[str, Any] = COST,
    more: Mapping[str, Any] | None = None,
    first: int = 0,
    **settings: Any,
) -> Path:
    """more: besides what scores.json always tells; settings: of the recipe."""
    recipe = recipe_of(list(said), seed, **settings)
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(dump_recipe(recipe))
    scores: TaskScores = {}
    for name, (targets, readout_BK) in said.items():
        task = recipe.tasks[name]
        split = split_of(task, targets, first)
        write_predictions(folder / "predictions" / f"{name}-dev.csv", task, readout_BK, split)
        scores[name] = {"dev": score(task, readout_BK, split)}
    means = overall(recipe.tasks, scores)
    told = {"tasks": scores, "overall": means, "cost": dict(cost), **(more or {})}
    (folder / "scores.json").write_text(json.dumps(told))
    return folder


def moods(right: Sequence[int], targets: Sequence[int]) -> Said:
    """Answers that are right (1) or wrong (0), row by row."""
    said = [t if ok else 1 - t for ok, t in zip(right, targets, strict=True)]
    return list(targets), torch.tensor([[0.75, 0.25] if one == 0 else [0.25, 0.75] for one in said])
