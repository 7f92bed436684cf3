"""The same on a GPU, where there is one."""

import json
import math
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import trivium
from trivium.errors import RecipeError
from trivium.recipe import parse_recipe
from trivium.run.predictor.trained import load_trained

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_trains_on_the_gpu_and_answers_alike_on_the_cpu(
    recipe_values: dict[str, Any], tmp_path: Path, precision: str
) -> None:
    values = recipe_values | {"device": "cuda", "precision": precision}
    scores = trivium.train(parse_recipe(values), tmp_path / "run", console=Console(file=StringIO()))
    assert scores["precision"] == precision
    assert scores["cost"]["peak_memory_bytes"] > 0
    texts = ["good cat runs", "bad", "red blue green day night"]
    readouts = [
        load_trained(tmp_path / "run", precision=precision, device=device).readout("mood", texts)
        for device in ("cuda", "cpu")
    ]
    limit = 1e-4 if precision == "fp32" else 2e-2
    torch.testing.assert_close(readouts[0], readouts[1], atol=limit, rtol=0)


def test_the_journal_has_every_step_once_and_in_order(
    recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    recipe = parse_recipe(recipe_values | {"device": "cuda", "precision": "bf16"})
    trivium.train(recipe, tmp_path / "run", console=Console(file=StringIO()))
    lines = [json.loads(line) for line in (tmp_path / "run/journal.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if line["event"] == "step"]
    assert steps == list(range(1, len(steps) + 1))
    assert all(math.isfinite(line["norm"]) for line in lines if line["event"] == "step")


def test_a_loss_that_is_not_finite_ends_the_run(
    recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    values = recipe_values | {"device": "cuda", "precision": "bf16"}
    for stage in values["stages"]:
        stage["lr"] = 1e30
    with pytest.raises(RecipeError, match="not finite"):
        trivium.train(parse_recipe(values), tmp_path / "run", console=Console(file=StringIO()))
