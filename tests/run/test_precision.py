"""What is said, and done, where bf16 is asked for and the processor does not multiply in it."""

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import trivium
from tests.support.native import switched
from trivium.model import kernels
from trivium.model.kernels import Linear, linear
from trivium.run.assembly import device


def notes(recipe: dict[str, Any]) -> list[str]:
    found = trivium.check(recipe, Console(file=StringIO(), width=200)).warnings
    return [note for note in found if note.startswith("precision")]


@pytest.mark.parametrize("multiplies", [False, True])
def test_bf16_that_would_be_slow_is_told_of(
    *, multiplies: bool, recipe_values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "_takes_bf16", lambda _: multiplies)
    (note,) = notes(recipe_values | {"precision": "bf16"}) or [""]
    assert ("does not multiply in bf16" in note) is not multiplies
    for precision in ("auto", "fp32"):
        assert not notes(recipe_values | {"precision": precision})


def test_a_product_in_bf16_that_onednn_refuses_is_pytorchs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kernels, "_ONEDNN_BF16", False)
    layer, x_NK = Linear(64, 32), torch.randn(5, 64).bfloat16()
    with torch.no_grad():
        found = linear(x_NK, (layer,), gelu=True)
        exact = torch.nn.functional.gelu(layer.double()(x_NK.double()))
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), exact, rtol=0.02, atol=0.02)


def test_a_run_in_bf16_trains_and_answers_on_any_processor(
    recipe_values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "_ONEDNN_BF16", False)
    recipe = recipe_values | {"precision": "bf16"}
    recipe["stages"][0] |= {"steps": 2}
    with switched("0"):
        trivium.train(recipe, tmp_path / "run", console=Console(file=StringIO()))
        (found,) = trivium.load(tmp_path / "run").predict("mood", ["I like it"])
    assert found in ("up", "down")
