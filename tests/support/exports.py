"""Runs that nobody trained, for exports: every parameter drawn, so that none is 0 by chance."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from trivium.recipe import dump_recipe, parse_recipe
from trivium.run.assembly.model import build
from trivium.run.folder.model import save_model

TEXT = {"text": "text", "label": "y"}
PAIR = {"text": ["first", "second"], "label": "y"}
LABELS = {"kind": "classification", "labels": ["no", "yes", "maybe"]}
SCORE = {"kind": "regression", "range": [-1, 4]}


def untrained(
    folder: Path, encoder: Path, tasks: Mapping[str, Any], *adapters: Any, data: str = "."
) -> Path:
    """The folder of a run, with its recipe and model."""
    recipe = parse_recipe(
        {
            "encoder": str(encoder),
            "data": data,
            "precision": "fp32",
            "tasks": dict(tasks),
            "adapters": list(adapters),
            "stages": [{"steps": 1}],
        }
    )
    model, tokenizer = build(recipe)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.startswith("encoder.") or "sides." in name or "lora" in name:
                parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.1)
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(dump_recipe(recipe))
    save_model(
        model, recipe.tasks, tokenizer, folder / "model", precision="fp32",
        adapters=recipe.adapters,
    )  # fmt: skip
    return folder
