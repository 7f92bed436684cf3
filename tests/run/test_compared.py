"""Losses that compare the rows of a batch compare them over all processes; and gradients may
travel in bf16."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.support.distributed import recipe_of, train, weights
from tests.support.forks import Forks
from trivium.model.weights import read_weights
from trivium.run.folder.journal import read_journal
from trivium.run.train import train as train_recipe

pytestmark = [pytest.mark.whole_run, pytest.mark.xdist_group("processes")]


def in_one_and_in_two(
    recipe: Path, folder: Path, forks: Forks, *changes: str
) -> tuple[list[dict[str, torch.Tensor]], list[list[dict[str, Any]]]]:
    """Weights and steps of both. changes: for the two."""
    train_recipe(recipe, folder / "one")
    train(forks, recipe, folder / "two", *changes)
    runs = [folder / "one", folder / "two"]
    steps = [[e for e in read_journal(run) if e["event"] == "step"] for run in runs]
    return [weights(run) for run in runs], steps


@pytest.mark.thorough
def test_two_processes_compare_the_rows_that_one_does(
    recipe_values: dict[str, Any], forks: Forks, tmp_path: Path
) -> None:
    """CoSENT, MNRL of pairs, and SimCSE: their losses are those of the whole batch, not the mean of
    those of its halves, which have half as many wrong choices."""
    recipe = recipe_of(
        recipe_values, tmp_path, sampler="joint", steps=4, batch_size=13, evaluate_every=4
    )
    values = yaml.safe_load(recipe.read_text())
    pairs = {"text": ["first", "second"], "train": "near-train.tsv", "dev": "near-dev.tsv"}
    texts = {"text": "text", "train": "mood-train.tsv", "dev": "mood-dev.tsv"}
    tasks = {
        "near": values["tasks"]["near"] | {"loss": "cosent"},
        "match": {"kind": "matching", **pairs},
        "twice": {"kind": "simcse", **texts},
    }
    recipe.write_text(yaml.safe_dump(values | {"tasks": tasks}))
    (one, two), steps = in_one_and_in_two(recipe, tmp_path, forks)
    for ours, theirs in zip(*steps, strict=True):
        assert ours["losses"].keys() == {"near", "match", "twice"}
        assert ours["losses"] == pytest.approx(theirs["losses"], rel=1e-4)
        assert ours["norm"] == pytest.approx(theirs["norm"], rel=1e-3)
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=2e-5, rtol=1e-4, msg=name)


@pytest.mark.thorough
def test_gradients_that_travel_in_bf16_change_the_update_little_and_no_decision(
    recipe_values: dict[str, Any], forks: Forks, tmp_path: Path
) -> None:
    recipe = recipe_of(recipe_values, tmp_path, steps=6, batch_size=8, evaluate_every=6)
    (one, two), steps = in_one_and_in_two(recipe, tmp_path, forks, "--set", "allreduce=bf16")
    for ours, theirs in zip(*steps, strict=True):
        assert (ours["rows"], ours["losses"].keys()) == (theirs["rows"], theirs["losses"].keys())
        assert ours["norm"] == pytest.approx(theirs["norm"], rel=0.02)
    far = sum(float((two[name] - one[name]).norm()) ** 2 for name in one) ** 0.5
    start = read_weights(Path(yaml.safe_load(recipe.read_text())["encoder"]))
    moved = sum(float((one[n] - t).norm()) ** 2 for n, t in start.items()) ** 0.5
    assert 0 < far < 0.02 * moved
