"""Two processes train what one does: each takes its share of every batch."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.distributed import recipe_of, together, torchrun, train, weights
from tests.support.facts import facts
from tests.support.forks import Forks
from tests.support.processes import PATIENCE_S, wait_until
from tests.support.thorough import some_of
from trivium.model.weights import read_weights
from trivium.run.train import train as train_recipe

pytestmark = [pytest.mark.whole_run, pytest.mark.xdist_group("processes")]


STAGES: dict[str, dict[str, Any]] = {
    # 13 rows a batch: the two shares are never equal.
    "surgery": {"combiner": "pcgrad", "sampler": "joint", "batch_size": 13, "conflicts_every": 2},
    "class weights": {"weighted": True, "batch_size": 7, "sampler": "joint",
                      "combiner": "gradnorm"},
    "compared rows": {"ranked": True, "batch_size": 13, "sampler": "joint",
                      "regularizers": [{"kind": "l2_sp", "alpha": 0.5, "beta": 0.5}]},
    "compared rows that not all have": {
        "ranked": True, "sampler": "joint", "batches_per_step": 2, "combiner": "pcgrad",
        "batch_size": {"mood": 4, "same": 4, "near": 1},
    },
    "accumulated sum": {"batches_per_step": 3, "batch_size": {"mood": 1, "same": 5, "near": 8},
                        "average": {"kind": "ema", "decay": 0.6}},
}  # fmt: skip
CORE = ("surgery", "class weights", "compared rows that not all have")
"""For the default run."""


@pytest.mark.parametrize("name", some_of(STAGES, CORE.__contains__))
def test_two_processes_reach_the_weights_of_one(
    recipe_values: dict[str, Any], forks: Forks, tmp_path: Path, name: str
) -> None:
    recipe = recipe_of(recipe_values, tmp_path, **STAGES[name])
    train_recipe(recipe, tmp_path / "run1")
    train(forks, recipe, tmp_path / "run2")
    one, two = (tmp_path / f"run{count}" for count in (1, 2))
    for name, tensor in weights(one).items():
        torch.testing.assert_close(weights(two)[name], tensor, atol=2e-5, rtol=1e-4, msg=name)
    journals = [
        [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
        for run in (one, two)
    ]
    assert [e["event"] for e in journals[0]] == [e["event"] for e in journals[1]]
    for a, b in zip(*journals, strict=True):
        assert a.get("rows") == b.get("rows")
        assert a.get("losses", {}) == pytest.approx(b.get("losses", {}), abs=1e-4)
        assert a.get("cosines", {}) == pytest.approx(b.get("cosines", {}), abs=1e-3)


def test_processes_send_those_rows_of_a_large_table_that_any_of_them_has(forks: Forks) -> None:
    code, said = together(forks, 2, module="tests.support.sent_rows")
    assert code == 0, said
    told = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    assert [each["sent"] for each in told if "sent" in each] == [3 * 8] * 2
    rows = {"3": [0.5] * 8, "4": [1.0] * 8, "90": [1.5] * 8}
    assert [each["rows"] for each in told if "rows" in each] == [rows] * 2


@pytest.mark.thorough
def test_two_processes_resume_bit_for_bit(
    recipe_values: dict[str, Any], forks: Forks, tmp_path: Path
) -> None:
    """And torchrun's two processes do what those that the tests start do."""
    recipe = recipe_of(
        recipe_values, tmp_path, dropout=0.2, steps=60, checkpoint_every=5, sampler="joint",
        combiner="pcgrad", batch_size=9, evaluate_every=20,
    )  # fmt: skip
    recipe.write_text(recipe.read_text() + "train_rows: 20\n")
    train(forks, recipe, tmp_path / "whole")
    child = torchrun(2, "train", recipe, "--out", tmp_path / "halves")
    wait_until(lambda: list((tmp_path / "halves" / "resume").glob("0*")), child)
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=PATIENCE_S)
    told = train(forks, recipe, tmp_path / "halves", "--resume")
    assert "resumed at stage" in told
    whole, halves = (read_weights(tmp_path / name / "model") for name in ("whole", "halves"))
    assert all(torch.equal(whole[name], halves[name]) for name in whole)
    scores: list[Any] = [facts(tmp_path / name)["scores"] for name in ("whole", "halves")]
    assert scores[0] == scores[1]
    assert "train" in scores[0]["tasks"]["mood"]


@pytest.mark.thorough
def test_resuming_with_another_number_of_processes_is_refused(
    recipe_values: dict[str, Any], forks: Forks, tmp_path: Path
) -> None:
    recipe = recipe_of(recipe_values, tmp_path, steps=400, checkpoint_every=2)
    child = forks.start("train", recipe, "--out", tmp_path / "run")
    wait_until(lambda: list((tmp_path / "run" / "resume").glob("0*")), child)
    child.kill()
    child.wait()
    code, errors = together(forks, 2, "train", recipe, "--out", tmp_path / "run", "--resume")
    assert code != 0
    assert "the run began with 1 processes, now there are 2" in errors


@pytest.mark.thorough
def test_a_mistake_is_told_by_one_process_and_ends_torchruns_report(
    recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    recipe = recipe_of(recipe_values, tmp_path, frozen_encoder=True)
    child = torchrun(2, "check", recipe)
    _, errors = child.communicate(timeout=PATIENCE_S)
    said = "stages.0.frozen_encoder: no such setting; write `trains: frozen`"
    lines = errors.splitlines()
    assert child.returncode != 0
    assert [line for line in lines if line.startswith("error ")] == [f"error {recipe}: {said}"]
    assert said in "\n".join(lines[-3:])
