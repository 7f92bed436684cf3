"""What tasks have before training: the usual answer, a linear probe, and heads that start there."""

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from sklearn.linear_model import LogisticRegression, Ridge
from torch import Tensor

import trivium
from tests.support.runs import moods, write_run
from trivium.model.weights import read_weights
from trivium.parts.tasks import Task
from trivium.recipe import parse_recipe
from trivium.run.assembly.model import build
from trivium.run.baselines import vectors
from trivium.run.baselines.cache import cached
from trivium.run.baselines.find import BeforeTraining, find_baselines, usual
from trivium.run.baselines.fit import fit, readout
from trivium.run.folder.below import below_probe, standard_error
from trivium.run.folder.scores import Scores, read_scores
from trivium.run.predictor.torch import TorchPredictor
from trivium.run.rows.load import load_data
from trivium.run.rows.shelf import PLACE
from trivium.run.verdict.verdict import verdict

ROWS, WIDTH = 120, 6

KINDS: dict[str, dict[str, Any]] = {
    "classification": {"labels": ["a", "b", "c"]},
    "ordinal": {"labels": ["1", "2", "3"]},
    "multilabel": {"labels": ["x", "y"]},
    "regression": {"range": [0.0, 2.0]},
}


def task_of(kind: str, **more: Any) -> Task:
    values = {"kind": kind, "text": "text", "label": "l", **KINDS[kind], **more}
    return parse_recipe({"encoder": "none", "tasks": {"t": values}}).tasks["t"]


def rows_of(kind: str) -> tuple[Task, Tensor, Tensor, list[tuple[str, ...]]]:
    """Features of very different sizes, of which one line decides, and some noise."""
    random = np.random.default_rng(0)
    feature_BF = random.normal(size=(ROWS, WIDTH)) * [1, 10, 0.1, 1, 1, 1] + 3
    value_B = (feature_BF[:, 1] - 3) / 10 + random.normal(size=ROWS) * 0.3
    place_B = np.digitize(value_B, [-0.5, 0.5])
    targets: dict[str, list[Any]] = {
        "classification": place_B.tolist(),
        "ordinal": place_B.tolist(),
        "multilabel": [tuple(range(place)) for place in place_B],
        "regression": np.clip(value_B + 1, 0, 2).tolist(),
    }
    task = task_of(kind)
    texts: list[tuple[str, ...]] = [(f"text {row}",) for row in range(ROWS)]
    return task, torch.from_numpy(feature_BF).float(), task.targets(targets[kind]), texts


# --- the fit ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_probe_of_every_kind_of_task_finds_the_line(kind: str) -> None:
    task, feature_BF, target_B, texts = rows_of(kind)
    said_BK = readout(task, fit(task, feature_BF, target_B, texts).weights, feature_BF)
    usual_BK = usual(target_B).expand(ROWS, -1)
    found, constant = (task.scores(each, target_B)[task.metric] for each in (said_BK, usual_BK))
    assert found > constant + 0.25


def test_a_probe_of_labels_is_scikit_learns_logistic_regression() -> None:
    task, feature_BF, target_B, texts = rows_of("classification")
    probe = fit(task, feature_BF, target_B, texts)
    x_BF = feature_BF.double().numpy()
    x_BF = (x_BF - x_BF.mean(0)) / x_BF.std(0)
    theirs = LogisticRegression(C=1 / (probe.penalty * ROWS), tol=1e-8, max_iter=1000)
    wanted_BK = theirs.fit(x_BF, target_B.numpy()).predict_proba(x_BF)
    said_BK = readout(task, probe.weights, feature_BF)
    torch.testing.assert_close(said_BK.double(), torch.from_numpy(wanted_BK), atol=1e-3, rtol=0)


def test_a_probe_of_scores_is_scikit_learns_ridge_regression() -> None:
    task, feature_BF, target_B, texts = rows_of("regression")
    probe = fit(task, feature_BF, target_B, texts)
    x_BF = feature_BF.double().numpy()
    x_BF = (x_BF - x_BF.mean(0)) / x_BF.std(0)
    # Ours is the mean over rows plus l/2 |W|^2, of scores on the unit scale; theirs the sum.
    theirs = Ridge(alpha=probe.penalty * ROWS / 2).fit(x_BF, target_B.numpy() / 2)
    wanted_B = torch.from_numpy(theirs.predict(x_BF)) * 2
    said_B = readout(task, probe.weights, feature_BF)[:, 0].double()
    torch.testing.assert_close(said_B, wanted_B, atol=1e-3, rtol=0)


def test_more_noise_than_signal_chooses_a_stronger_penalty() -> None:
    task, feature_BF, target_B, texts = rows_of("classification")
    random = torch.Generator().manual_seed(0)
    noise_BF = torch.randn(ROWS, 80, generator=random)
    few = fit(task, feature_BF, target_B, texts).penalty
    assert fit(task, torch.cat([feature_BF, noise_BF], 1), target_B, texts).penalty > few


def test_a_handful_of_rows_and_a_constant_feature_are_no_obstacle() -> None:
    task = task_of("classification")
    feature_BF = torch.tensor([[0.0, 5.0], [1.0, 5.0], [2.0, 5.0]])
    probe = fit(task, feature_BF, torch.tensor([0, 1, 2]), [("a",), ("b",), ("c",)])
    said_BK = readout(task, probe.weights, feature_BF)
    assert said_BK.isfinite().all()
    assert said_BK[0].argmax() == 0
    assert said_BK[2].argmax() == 2


def test_the_usual_answer_is_the_most_frequent_label_or_the_mean() -> None:
    assert usual(torch.tensor([1, 1, 0, 2])).tolist() == [[0.25, 0.5, 0.25]]
    assert usual(torch.tensor([[1.0, 0.0], [1.0, 1.0]])).tolist() == [[1.0, 0.5]]
    assert usual(torch.tensor([1.0, 2.0, 6.0])).tolist() == [[3.0]]


# --- of a recipe --------------------------------------------------------------------------------


def found_of(values: dict[str, Any]) -> BeforeTraining:
    recipe, data = load_data(parse_recipe(values))
    model, tokenizer = build(recipe)
    predictor = TorchPredictor(model, recipe.tasks, tokenizer)
    before = torch.get_rng_state()
    found = find_baselines(recipe, data, predictor, wanted=True)
    assert torch.equal(torch.get_rng_state(), before)
    return found


def from_probe(values: dict[str, Any], **more: Any) -> dict[str, Any]:
    tasks = values["tasks"] | {
        "mood": values["tasks"]["mood"] | {"head": {"kind": "linear", "start": "probe"}},
        "same": values["tasks"]["same"]
        | {"encode": "separate", "head": {"kind": "concat", "start": "probe"}},
    }
    return values | {"tasks": tasks} | more


def test_the_rows_of_dev_have_no_say_in_a_probe(
    recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    values = from_probe(recipe_values)
    starts = found_of(values).starts
    path = tmp_path / "data" / "mood-dev.tsv"
    path.write_text(path.read_text().replace("\tup", "\tX").replace("\tdown", "\tup"))
    path.write_text(path.read_text().replace("\tX", "\tdown"))
    again = found_of(values).starts
    assert {name: sorted(weights) for name, weights in starts.items()} == {
        "mood": ["linear.bias", "linear.weight"],
        "same": ["linear.bias", "linear.weight"],
    }
    for name, weights in starts.items():
        for key, tensor in weights.items():
            assert torch.equal(tensor, again[name][key])


def test_a_second_look_reads_no_text(
    recipe_values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PLACE, str(tmp_path / "cache"))
    found = found_of(recipe_values)

    def refuse(*_: Any) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(vectors.Vectors, "_read", refuse)
    assert found_of(recipe_values).baselines == found.baselines


def test_what_is_kept_and_damaged_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PLACE, str(tmp_path))
    one = {"x": torch.ones(2)}
    assert torch.equal(cached("key", lambda: one)["x"], torch.ones(2))
    assert torch.equal(cached("key", dict)["x"], torch.ones(2))
    (tmp_path / "key.safetensors").write_bytes(b"no tensors")
    assert torch.equal(cached("key", lambda: {"x": torch.zeros(2)})["x"], torch.zeros(2))
    monkeypatch.setenv(PLACE, "")
    assert torch.equal(cached("key", lambda: one)["x"], torch.ones(2))


# --- of a run -----------------------------------------------------------------------------------


def run(values: dict[str, Any], folder: Path, **stage: Any) -> tuple[Scores, str]:
    console = Console(file=StringIO(), width=200)
    stages = [values["stages"][0] | stage]
    trivium.train(parse_recipe(values | {"stages": stages}), folder, console=console)
    assert isinstance(console.file, StringIO)
    return read_scores(folder), console.file.getvalue()


def test_a_run_is_the_same_to_the_bit_without_a_probe(
    recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    with_it, said = run(recipe_values, tmp_path / "with", steps=3)
    without, unsaid = run(recipe_values | {"probe": False}, tmp_path / "without", steps=3)
    assert "Before training" in said
    assert "Before training" not in unsaid
    assert set(with_it.baselines) == {"mood", "same", "near"}
    assert without.baselines == {}
    assert "baselines" not in json.loads((tmp_path / "without" / "scores.json").read_text())
    one, two = (read_weights(tmp_path / name / "model") for name in ("with", "without"))
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())
    assert with_it.tasks == without.tasks


def test_a_head_that_starts_from_its_probe_scores_what_it_scores(
    recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    scores, said = run(from_probe(recipe_values), tmp_path / "run", steps=1, lr=0.0)
    for name in ("mood", "same"):
        assert scores.of(name, "dev") == scores.baselines[name].probe.scores["dev"]
    assert "warning mood" not in said
    assert "warning same" not in said


def test_a_run_below_its_probe_says_so_and_what_to_change(
    recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    mood = recipe_values["tasks"]["mood"] | {"dev": "mood-train.tsv"}  # easy: it was fitted there
    values = recipe_values | {"tasks": {"mood": mood}}
    scores, said = run(values, tmp_path / "run", steps=1, lr=1e-6)
    recipe = parse_recipe(values)
    (line,) = [line for line in below_probe(recipe, scores) if line.startswith("mood")]
    probe = scores.baselines["mood"].probe.scores["dev"]["accuracy"]
    assert f"is below the {probe:.4f} of a linear probe" in line
    assert "`tasks.mood.head: {kind: linear, start: probe}`" in line
    assert "warning mood" in said
    assert "apart" not in line
    # Of a task that no stage trains, as one that came from another run, there is nothing to change.
    other = {"same": recipe_values["tasks"]["same"]}
    stage = recipe_values["stages"][0] | {"tasks": ["same"]}
    untrained = parse_recipe(values | {"tasks": {"mood": mood} | other, "stages": [stage]})
    assert below_probe(untrained, scores)[0].endswith("on the encoder before training.")


def test_a_pair_read_as_one_that_is_below_its_probe_is_told_to_be_read_apart(
    recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    same = recipe_values["tasks"]["same"] | {"dev": recipe_values["tasks"]["same"]["train"]}
    assert same["encode"] == "joint"
    values = recipe_values | {"tasks": {"same": same}}
    scores, _ = run(values, tmp_path / "run", steps=1, lr=1e-6)
    (line,) = below_probe(parse_recipe(values), scores)
    assert ". Read its texts apart, as the probe does (`--set tasks.same.encode=separate`)" in line
    apart = parse_recipe(values | {"tasks": {"same": same | {"encode": "separate"}}})
    assert "apart" not in below_probe(apart, scores)[0]


def test_how_sure_a_score_is() -> None:
    assert standard_error("accuracy", 0.5, 100) == pytest.approx(0.05)
    assert standard_error("pearson", 0.5, 100) == pytest.approx(0.075)


def test_a_head_of_several_layers_cannot_start_from_a_probe(tmp_path: Path) -> None:
    with pytest.raises(trivium.RecipeError, match=r"only a head that is one linear layer .* mlp"):
        task_of("classification", head={"kind": "mlp", "start": "probe"})


def test_a_verdict_tells_of_probes(tmp_path: Path) -> None:
    targets = [row % 2 for row in range(40)]

    def known(probe: float) -> dict[str, Any]:
        told = {"scores": {"dev": {"accuracy": probe, "rows": 40}}, "rows": 80, "of_rows": 80}
        return {
            "mood": {
                "metric": "accuracy",
                "answer": "up",
                "majority": {"dev": {"accuracy": 0.5, "rows": 40}},
                "probe": told | {"features": 4, "penalty": 0.1},
            }
        }

    folders = [
        write_run(
            tmp_path / name,
            {"mood": moods([row < right for row in range(40)], targets)},
            more={"baselines": known(0.9)},
            stages=[{"lr": rate}],
        )
        for name, right, rate in (("low", 20, 1e-5), ("high", 38, 1e-4))
    ]
    notes = verdict(folders, resamples=1000).notes
    assert notes[0].startswith(f"{folders[0]}: mood: accuracy 0.5000 is below the 0.9000")
    assert "`--set stages.0.lr.heads=5e-05`" in notes[0]
    assert notes[1].startswith("low: a linear probe")
    assert "accuracy 0.9000 (0.5000)" in notes[1]


# --- rates that a recipe leaves open ------------------------------------------------------------


def test_rates_of_heads_follow_the_kind_of_head_unless_they_are_given(
    recipe_values: dict[str, Any], recipe_file: Callable[..., Path], tmp_path: Path
) -> None:
    tasks = recipe_values["tasks"]
    tasks["near"]["head"] = "cosine"
    values = recipe_values | {"stages": [{"steps": 1}, {"name": "b", "lr": {"heads": 0.5}}]}
    first, second = load_data(parse_recipe(values))[0].stages
    assert first.lr.heads == {"mood": 0.01, "same": 0.01, "near": 0.001}
    assert (first.lr.adapters, first.lr.encoder) == (0.001, 5e-5)
    assert (second.lr.heads, second.lr.adapters) == (0.5, None)
    only = values | {"tasks": {"mood": tasks["mood"]}}
    assert load_data(parse_recipe(only))[0].stages[0].lr.heads == 0.01


def test_a_rate_for_one_head_leaves_the_others_theirs_and_the_run_says_so(
    recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    tasks = recipe_values["tasks"]
    tasks["near"]["head"] = {"kind": "mlp", "trunk": "pairs"}
    both = {"tasks": ["mood", "near"], "steps": 1, "lr": {"heads": {"near": 2e-3}}}
    alone = both | {"name": "b", "tasks": ["near"]}
    given = both | {"name": "c", "lr": {"heads": {"mood": 0.1, "pairs": 0.2}, "adapters": 0.3}}
    values = recipe_values | {"stages": [both, alone, given], "probe": False}
    wanted = [
        ({"mood": 0.01, "near": 2e-3, "pairs": 1e-3}, 1e-3),
        ({"near": 2e-3, "pairs": 1e-3}, 1e-3),
        ({"mood": 0.1, "near": 1e-3, "pairs": 0.2}, 0.3),
    ]
    recipe = load_data(parse_recipe(values))[0]
    assert [(stage.lr.heads, stage.lr.adapters) for stage in recipe.stages] == wanted
    assert load_data(recipe)[0] == recipe  # as a run's own recipe says it
    console = Console(file=StringIO(), width=200)
    trivium.train(parse_recipe(values), tmp_path / "run", console=console)
    assert isinstance(console.file, StringIO)
    assert (
        "heads 0.01 (mood), 0.002 (near), 0.001 (pairs), adapters 0.001" in console.file.getvalue()
    )
    kept = trivium.load_recipe(tmp_path / "run" / "recipe.yaml").stages
    assert [(stage.lr.heads, stage.lr.adapters) for stage in kept] == wanted


def test_a_rate_for_a_task_that_is_not_there_is_refused(recipe_values: dict[str, Any]) -> None:
    stages = [{"lr": {"heads": {"mod": 0.1}}}]
    with pytest.raises(trivium.RecipeError, match=r"stages\.0\.lr\.heads: no task 'mod'"):
        parse_recipe(recipe_values | {"stages": stages})


@pytest.mark.parametrize(
    ("heads", "said"),
    [
        (-1, "not -1"),
        ("fast", r"stages\.0\.lr\.heads: should be a number"),
        ({"mood": -1}, "not -1"),
    ],
)
def test_a_rate_of_heads_is_a_number_or_one_per_task(
    recipe_values: dict[str, Any], heads: Any, said: str
) -> None:
    with pytest.raises(trivium.RecipeError, match=said):
        parse_recipe(recipe_values | {"stages": [{"lr": {"heads": heads}}]})
