"""A task is judged by the score that its recipe names, or by the first of its kind's."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import trivium
from tests.support.tables import make_recipe
from trivium.errors import RecipeError
from trivium.parts.tasks import Task
from trivium.recipe import parse_recipe
from trivium.run.predictor.model import ModelPredictor

KINDS: dict[str, dict[str, Any]] = {
    "classification": {"labels": ["a", "b", "c"]},
    "ordinal": {"labels": ["1", "2", "3"]},
    "multilabel": {"labels": ["a", "b"]},
    "regression": {"range": [0, 5]},
}


def task(kind: str, **settings: Any) -> Task:
    values = {"kind": kind, "text": "t", "label": "l", **KINDS[kind], **settings}
    return parse_recipe({"tasks": {"it": values}}, "").tasks["it"]


@pytest.mark.parametrize(
    ("kind", "first"),
    [
        ("classification", "accuracy"),
        ("ordinal", "accuracy"),
        ("multilabel", "micro_f1"),
        ("regression", "pearson"),
    ],
)
def test_the_first_score_of_a_kind_is_the_default_and_is_written_out(kind: str, first: str) -> None:
    assert task(kind).metric == first
    assert task(kind).model_dump()["metric"] == first


@pytest.mark.parametrize("kind", KINDS)
def test_every_score_that_a_kind_may_be_judged_by_is_among_its_scores(kind: str) -> None:
    some = task(kind, **({"labels": ["a", "b"]} if kind == "classification" else {}))
    readout_BK = torch.rand(6, max(1, some.outputs), generator=torch.Generator().manual_seed(0))
    targets: dict[str, Any] = {"regression": [0.5, 1, 2, 3, 4, 5], "multilabel": [(1.0, 0.0)] * 6}
    found = some.scores(readout_BK, some.targets(targets.get(kind, [0, 1, 1, 0, 1, 0])))
    assert set(some.judged_by) <= set(found)


def test_a_correlation_counts_in_the_leaderboard_as_half_of_one_more() -> None:
    near = task("regression", metric="spearman")
    assert near.leaderboard({"pearson": 0.9, "spearman": 0.5}) == 0.75
    stars = task("ordinal", metric="spearman")
    assert stars.leaderboard({"accuracy": 0.9, "spearman": -1.0}) == 0.0
    assert task("ordinal", metric="one_off").leaderboard({"one_off": 0.8}) == 0.8


@pytest.mark.parametrize(
    ("kind", "metric", "said"),
    [
        ("classification", "macrof1", "no score of this kind of task; did you mean 'macro_f1'"),
        ("regression", "accuracy", "no score of this kind of task"),
        ("classification", "f1", "there are 3; use macro_f1"),
    ],
)
def test_other_names_are_refused(kind: str, metric: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        task(kind, metric=metric)


def test_f1_of_labels_that_are_found_is_refused_where_they_are_not_two() -> None:
    found = task("classification", labels=None, metric="f1")
    assert found.with_labels(["x", "y"]).metric == "f1"
    with pytest.raises(ValueError, match="there are 3"):
        found.with_labels(["x", "y", "z"])


def test_models_are_chosen_by_it(tiny: Path, tmp_path: Path) -> None:
    values = make_recipe(tiny, tmp_path)
    values["tasks"] = {"mood": values["tasks"]["mood"] | {"metric": "macro_f1"}}
    values["stages"] = [{"steps": 3, "evaluate_every": 1, "lr": 1e-2}]
    trivium.train(values, tmp_path / "run")
    events = map(json.loads, (tmp_path / "run/journal.jsonl").read_text().splitlines())
    judged = [each for each in events if each["event"] == "evaluation"]
    assert [each["overall"] for each in judged] == [
        each["scores"]["mood"]["dev"]["macro_f1"] for each in judged
    ]
    model = trivium.load(tmp_path / "run")
    assert isinstance(model, ModelPredictor)
    assert model.task("mood").metric == "macro_f1"
