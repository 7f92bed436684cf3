"""What was computed once is taken again only where it would come out alike to the last digit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.native import (
    kernels,
    kernels_precision,
    kernels_precision_name,
    switched,
    threads,
)
from trivium.recipe import parse_recipe
from trivium.run.assembly.digits import computed_by
from trivium.run.assembly.model import build
from trivium.run.baselines import vectors
from trivium.run.baselines.find import find_baselines
from trivium.run.predictor.torch import TorchPredictor
from trivium.run.rows.load import load_data
from trivium.run.rows.shelf import PLACE

CPU = torch.device("cpu")


@pytest.fixture
def start(recipe_values: dict[str, Any]) -> Callable[[], torch.Tensor]:
    """A head that starts from a probe on the encoder: its first weights."""
    mood = recipe_values["tasks"]["mood"] | {"head": {"kind": "linear", "start": "probe"}}
    recipe, data = load_data(
        parse_recipe(
            recipe_values | {"tasks": {"mood": mood}, "precision": kernels_precision_name()}
        )
    )

    def found() -> torch.Tensor:
        model, tokenizer = build(recipe)
        model.encoder.precision = kernels_precision()
        predictor = TorchPredictor(model, recipe.tasks, tokenizer)
        return find_baselines(recipe, data, predictor, wanted=False).starts["mood"]["linear.weight"]

    return found


def test_a_head_starts_alike_whoever_filled_the_folder_of_caches_before(
    start: Callable[[], torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels()
    monkeypatch.setenv(PLACE, str(tmp_path / "empty"))
    with switched("0"):
        wanted = start()
    monkeypatch.setenv(PLACE, str(tmp_path / "filled"))
    with switched("vectors"):
        other = start()
    assert not torch.equal(other, wanted), "compiled kernels round in other places"
    with switched("0"):
        assert torch.equal(start(), wanted)


def test_vectors_are_read_once_for_each_number_of_threads(
    start: Callable[[], torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Products in fp32 may be added up in another order."""
    monkeypatch.setenv(PLACE, str(tmp_path / "cache"))
    read: list[int] = []
    own = vectors.Vectors._read

    def counted(*given: Any) -> torch.Tensor:
        read.append(torch.get_num_threads())
        return own(*given)

    monkeypatch.setattr(vectors.Vectors, "_read", counted)
    for number in (1, 2, 1, 2):
        with threads(number):
            start()
    assert read == [1, 2]


def test_what_decides_the_digits_is_told_apart() -> None:
    kernels()
    found = []
    for switch, number in (("0", 1), ("vectors", 1), ("vectors", 2)):
        with switched(switch), threads(number):
            found.append(computed_by(CPU))
            assert computed_by(CPU) == found[-1]
    assert len(set(found)) == 3
    assert all(torch.__version__ in each for each in found)
