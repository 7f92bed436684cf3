"""Training: what it learns, keeps, writes and refuses."""

import json
import shutil
from collections.abc import Callable
from io import StringIO
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from transformers import AutoModel

import trivium
from trivium.errors import RecipeError
from trivium.model.weights import read_weights
from trivium.recipe import parse_recipe
from trivium.run.assembly.device import choose_device, choose_precision, precision_name
from trivium.run.folder.journal import read_journal
from trivium.run.predictor.trained import load_single
from trivium.run.training import judge, loop, step
from trivium.text.packing import Packer

Write = Callable[..., Path]


def quiet() -> Console:
    return Console(file=StringIO())


def run(values: dict[str, Any], folder: Path, **stage: Any) -> dict[str, Any]:
    stages = [values["stages"][0] | stage]
    return trivium.train(parse_recipe(values | {"stages": stages}), folder, console=quiet())


def test_a_model_learns_a_rule_and_says_so(recipe_values: dict[str, Any], tmp_path: Path) -> None:
    only = recipe_values | {"tasks": {"mood": recipe_values["tasks"]["mood"]}}
    scores = run(only, tmp_path / "run", steps=150, lr=3e-3, batch_size=16)
    assert scores["tasks"]["mood"]["dev"]["accuracy"] > 0.85
    assert scores["tasks"]["mood"]["dev"]["rows"] == 32
    assert scores == json.loads((tmp_path / "run" / "scores.json").read_text())
    answers = trivium.load(tmp_path / "run").predict("mood", ["bad cat runs", "good cat runs"])
    assert answers == ["up", "down"]


def test_evaluate_repeats_the_scores_of_the_run(
    recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    scores = run(recipe_values, tmp_path / "run")
    again = trivium.evaluate(tmp_path / "run")
    assert again["tasks"] == scores["tasks"]
    assert again["overall"] == scores["overall"]
    assert again["precision"] == scores["precision"] == "fp32"
    alone = trivium.evaluate(tmp_path / "run", task="mood", file=tmp_path / "data" / "mood-dev.tsv")
    assert alone["tasks"]["mood"]["file"] == scores["tasks"]["mood"]["dev"]


def test_scores_hold_both_overall_means_and_the_cost(
    recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    scores = run(recipe_values, tmp_path / "run")
    dev = {name: of_task["dev"] for name, of_task in scores["tasks"].items()}
    accuracies = [dev["mood"]["accuracy"], dev["same"]["accuracy"]]
    r = dev["near"]["pearson"]
    assert scores["overall"]["dev"]["mean"] == pytest.approx(sum([*accuracies, r]) / 3)
    leaderboard = sum([*accuracies, (r + 1) / 2]) / 3
    assert scores["overall"]["dev"]["leaderboard"] == pytest.approx(leaderboard)
    steps = [e for e in read_journal(tmp_path / "run") if e["event"] == "step"]
    assert scores["cost"]["tokens"] == sum(e["tokens"] for e in steps)
    assert len(steps) == 12


def test_the_saved_encoder_is_a_transformers_model_with_the_same_vectors(
    recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    run(recipe_values, tmp_path / "run")
    predictor = load_single(tmp_path / "run")
    ids = predictor.tokenizer(["good cat runs very fast", "blue"])
    theirs = AutoModel.from_pretrained(tmp_path / "run" / "model").eval()
    packer = Packer(predictor.tokenizer, 64)
    for one in ids:
        tokens = packer.pack([[np.asarray(one, dtype=np.int32)]])
        with torch.no_grad():
            ours_ND = predictor.model.encoder(tokens)
            wanted_ND = theirs(input_ids=tokens.ids_N[None]).last_hidden_state[0]
        torch.testing.assert_close(ours_ND, wanted_ND, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "sampler",
    ["joint", "round_robin", "sequential", "proportional", "sqrt", "temperature", "annealed"],
)
def test_every_sampler_trains(recipe_values: dict[str, Any], tmp_path: Path, sampler: str) -> None:
    run(recipe_values, tmp_path / "run", sampler=sampler, steps=4)
    steps = [e for e in read_journal(tmp_path / "run") if e["event"] == "step"]
    drawn = [set(e["losses"]) for e in steps]
    assert all(tasks <= {"mood", "same", "near"} for tasks in drawn)
    assert all(len(tasks) == (3 if sampler == "joint" else 1) for tasks in drawn)


def test_sequential_epochs_show_one_task_after_another(
    recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    run(recipe_values, tmp_path / "run", sampler="sequential", epochs=2, steps=None, batch_size=16)
    steps = [e for e in read_journal(tmp_path / "run") if e["event"] == "step"]
    drawn = [name for step in steps for name in step["losses"]]
    halves = drawn[: len(drawn) // 2], drawn[len(drawn) // 2 :]
    assert halves[0] == halves[1]
    assert [name for name, _ in groupby(halves[0])] == ["mood", "same", "near"]


def test_keeping_gradients_apart_changes_nothing_for_their_sum(
    recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    still = _without_dropout(recipe_values, tmp_path)  # masks are those of other passes
    # A large eps keeps Adam from blowing rounding up.
    joint = {"sampler": "joint", "steps": 3, "optimizer": {"kind": "adamw", "eps": 1e-3}}
    run(still, tmp_path / "plain", **joint)
    run(still, tmp_path / "apart", **joint, conflicts_every=1)
    plain, apart = (read_weights(tmp_path / name / "model") for name in ("plain", "apart"))
    for name, tensor in plain.items():
        torch.testing.assert_close(apart[name], tensor, atol=1e-5, rtol=1e-4)
    found = [e["cosines"] for e in read_journal(tmp_path / "apart") if e["event"] == "step"]
    assert [set(each) for each in found] == [{"mood|same", "mood|near", "same|near"}] * 3
    assert all(-1 <= cosine <= 1 for each in found for cosine in each.values())


def test_accumulated_batches_make_one_step_of_their_mean(
    recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    only = recipe_values | {"tasks": {"mood": recipe_values["tasks"]["mood"]}}
    plain = {"optimizer": {"kind": "adamw", "eps": 1e-3}, "schedule": "constant", "steps": 1}
    still = _without_dropout(only, tmp_path)
    run(still, tmp_path / "whole", **plain, batch_size=96)
    run(still, tmp_path / "parts", **plain, batch_size=24, batches_per_step=4)
    whole, parts = (read_weights(tmp_path / name / "model") for name in ("whole", "parts"))
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, atol=1e-6, rtol=1e-4)


def test_a_frozen_encoder_does_not_move_and_heads_do(
    recipe_values: dict[str, Any], tiny: Path, tmp_path: Path
) -> None:
    run(recipe_values, tmp_path / "run", trains="frozen")
    before, after = read_weights(tiny), read_weights(tmp_path / "run" / "model")
    assert all(torch.equal(before[name], after[name]) for name in after)
    losses = [e["losses"] for e in read_journal(tmp_path / "run") if e["event"] == "step"]
    assert losses[0] != losses[-1]


def test_a_stage_starts_from_the_best_model_of_the_one_before(
    recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    first = recipe_values["stages"][0] | {"name": "first", "evaluate_every": 3}
    second = first | {"name": "second", "steps": 1, "lr": 0.0, "tasks": ["mood"]}
    values = recipe_values | {"stages": [first, second]}
    trivium.train(parse_recipe(values), tmp_path / "run", console=quiet())
    found = [e for e in read_journal(tmp_path / "run") if e["event"] == "evaluation"]
    kept = [e for e in found if e["stage"] == "first" and e["kept"]][-1]
    last = [e for e in found if e["stage"] == "second"][-1]
    assert last["scores"] == kept["scores"]


def test_patience_ends_a_stage_that_gets_no_better(
    recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    run(recipe_values, tmp_path / "run", lr=0.0, steps=40, evaluate_every=2, patience=3)
    steps = [e for e in read_journal(tmp_path / "run") if e["event"] == "step"]
    assert len(steps) == 8  # one evaluation that is kept, three that are not


@pytest.mark.parametrize("select", ["overall", "near", "any"])
def test_the_kept_model_is_the_best_by_what_was_asked(
    recipe_values: dict[str, Any], tmp_path: Path, select: str
) -> None:
    scores = run(
        recipe_values, tmp_path / "run", select=select, steps=24, evaluate_every=2, lr=5e-3
    )
    found = [e for e in read_journal(tmp_path / "run") if e["event"] == "evaluation"]
    best: dict[str, float] = {}
    for event in found:
        values = {
            "overall": event["overall"],
            "mood": event["scores"]["mood"]["dev"]["accuracy"],
            "same": event["scores"]["same"]["dev"]["accuracy"],
            "near": event["scores"]["near"]["dev"]["pearson"],
        }
        better = {name for name, value in values.items() if value > best.get(name, -2)}
        best |= {name: values[name] for name in better}
        assert event["kept"] == (
            bool(better - {"overall"}) if select == "any" else select in better
        )
    kept = [e for e in found if e["kept"]][-1]
    assert scores["selected"] == {"stage": "train", "step": kept["step"], "by": select}
    assert scores["tasks"] == kept["scores"]


def test_rows_without_a_label_train_the_other_tasks_only(
    recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "data" / "mood-train.tsv"
    lines = path.read_text().splitlines()
    lines[1:49] = ["\t".join([*line.split("\t")[:2], ""]) for line in lines[1:49]]
    path.write_text("".join(f"{line}\n" for line in lines))
    with pytest.raises(RecipeError, match=r"mood-train.tsv:2: column 'mood' is empty"):
        run(recipe_values, tmp_path / "run")
    recipe_values["tasks"]["mood"]["missing_labels"] = "allow"
    second = recipe_values["tasks"]["mood"] | {"label": "id", "labels": [str(i) for i in range(96)]}
    recipe_values["tasks"] = {"mood": recipe_values["tasks"]["mood"], "number": second}
    run(recipe_values, tmp_path / "run", steps=18, sampler="round_robin", rows_per_epoch={})
    rows = dict.fromkeys(("mood", "number"), 0)
    for event in read_journal(tmp_path / "run"):
        if event["event"] == "step":
            rows[next(iter(event["losses"]))] += event["rows"]
    assert rows == {"mood": 72, "number": 72}


def test_precision_auto_is_what_the_machine_has_and_scores_say_so(
    recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    machines = precision_name(choose_precision("auto", torch.device("cpu")))
    scores = run(recipe_values | {"precision": "bf16"}, tmp_path / "run")
    assert scores["precision"] == machines
    again = trivium.evaluate(tmp_path / "run", precision=machines)
    assert again["tasks"] == scores["tasks"]
    weights = read_weights(tmp_path / "run" / "model")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}


def test_a_loss_that_is_not_finite_stops_with_a_remedy(
    recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=r"gradient is not finite.*Lower the learning rate"):
        run(recipe_values, tmp_path / "run", lr=1e30, clip=None, steps=30)


def _without_dropout(values: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    folder = tmp_path / "still"
    shutil.copytree(values["encoder"], folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config))
    kinds = {"mood": "linear", "same": "linear", "near": "cosine"}
    tasks = {
        name: task | {"head": {"kind": kinds[name], "dropout": 0.0}}
        for name, task in values["tasks"].items()
    }
    return values | {"encoder": str(folder), "tasks": tasks}


@pytest.mark.thorough
def test_a_crash_early_in_a_later_stage_resumes_from_the_model_that_stage_began_with(
    recipe_values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The later stage has replaced the kept model by then, and has no checkpoint of its own."""
    first = recipe_values["stages"][0] | {
        "name": "first", "steps": 6, "evaluate_every": 2, "checkpoint_every": 2, "lr": 0.01,
    }  # fmt: skip
    second = first | {"name": "second", "checkpoint_every": None, "evaluate_every": 1}
    recipe = parse_recipe(recipe_values | {"stages": [first, second]})
    # Whatever the scores: of the first stage only the first evaluation's model is kept.
    monkeypatch.setattr(
        judge, "_is_wanted", lambda stage, better: stage.name == "second" or len(better) == 4
    )
    trivium.train(recipe, tmp_path / "whole", console=quiet())
    real = step.train_step

    def die(setup: Any, stage: Any, plan: Any, state: Any) -> Any:
        if stage.name == "second" and state.counters.step == 3:
            raise KeyboardInterrupt
        return real(setup, stage, plan, state)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", die)
        with pytest.raises(KeyboardInterrupt):
            trivium.train(recipe, tmp_path / "halves", console=quiet())
    trivium.train(recipe, tmp_path / "halves", resume=True, console=quiet())
    whole, halves = (read_weights(tmp_path / name / "model") for name in ("whole", "halves"))
    assert all(torch.equal(whole[name], halves[name]) for name in whole)


@pytest.mark.parametrize("device", ["cuda:99", "tpu"])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(RecipeError, match=f"device: '?{device}"):
        choose_device(device)
