"""A step's batches in one pass through the encoder teach what they do one after another."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import trivium
from tests.support.deaths import dies_in_step
from tests.support.facts import facts
from tests.support.native import switched
from tests.support.passes import passes, values_without_dropout
from trivium.model.weights import read_tensors, read_weights
from trivium.run.folder.journal import read_journal
from trivium.run.training import batches
from trivium.run.training.together import in_passes

STAGES: dict[str, dict[str, Any]] = {
    "joint": {"sampler": "joint"},
    "accumulated": {"batches_per_step": 3, "weights": {"near": 0.5}},
    "joint twice": {"sampler": "joint", "batches_per_step": 2, "tokens_at_once": 140},
}


@pytest.fixture(scope="module")
def values(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Without dropout; `same` reads [CLS] alone, and words are guessed, too."""
    return values_without_dropout(tiny, tmp_path_factory.mktemp("together"))


def recipe_of(values: dict[str, Any], **stage: Any) -> dict[str, Any]:
    return values | {"stages": [values["stages"][0] | stage]}


def ran(recipe: dict[str, Any], folder: Path, **how: Any) -> Path:
    trivium.train(recipe, folder, console=Console(file=StringIO()), **how)
    return folder


@contextmanager
def one_after_another() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "may_go_together", lambda *_: False)
        yield


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES.keys())
def test_one_pass_teaches_what_several_do(
    values: dict[str, Any], stage: dict[str, Any], tmp_path: Path
) -> None:
    recipe = recipe_of(values, **stage)
    with passes() as few:
        ran(recipe, tmp_path / "together")
    with passes() as many, one_after_another():
        ran(recipe, tmp_path / "apart")
    assert sum(few) == sum(many)
    assert len(few) < len(many)
    assert max(few) <= stage.get("tokens_at_once", 4096)
    models = [tmp_path / name / "model" for name in ("together", "apart")]
    found, right = ({**read_weights(m), **read_tensors(m / "heads.safetensors")} for m in models)
    for name, tensor in right.items():
        torch.testing.assert_close(found[name], tensor, atol=2e-5, rtol=1e-4, msg=name)
    events = [
        [event for event in read_journal(tmp_path / name) if event["event"] == "step"]
        for name in ("together", "apart")
    ]
    for one, other in zip(*events, strict=True):
        assert (one["rows"], one["tokens"]) == (other["rows"], other["tokens"])
        assert one["losses"] == pytest.approx(other["losses"], rel=1e-4)


def test_masked_words_are_asked_of_their_own_texts(values: dict[str, Any], tmp_path: Path) -> None:
    recipe = recipe_of(values, sampler="joint", steps=1)
    words = {"kind": "mlm", "of": ["mood"], "head": {"kind": "words", "dropout": 0.0}}
    recipe["tasks"] = {"mood": values["tasks"]["mood"], "words": words}
    ran(recipe, tmp_path / "together")
    with one_after_another():
        ran(recipe, tmp_path / "apart")
    losses = [
        next(e["losses"] for e in read_journal(tmp_path / name) if e["event"] == "step")
        for name in ("together", "apart")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize(
    ("stage", "adapters", "each"),
    [
        ({"combiner": "pcgrad"}, [], 1),
        ({"conflicts_every": 1}, [], 1),
        ({"regularizers": ["rdrop"]}, [], 2),
        ({}, [{"kind": "pals", "size": 8, "heads": 2}], 1),
    ],
    ids=["surgery", "measured", "penalties", "sides"],
)
def test_what_keeps_tasks_apart_keeps_their_passes_apart(
    values: dict[str, Any], stage: dict[str, Any], adapters: list[Any], each: int, tmp_path: Path
) -> None:
    recipe = recipe_of(values, sampler="joint", steps=2, **stage) | {"adapters": adapters}
    with switched("0"), passes() as seen:  # kernels keep gradients apart within one pass
        ran(recipe, tmp_path / "run")
    assert len(seen) == 2 * 3 * each


def test_with_dropout_a_run_goes_on_to_the_bit(
    values: dict[str, Any], tiny: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(values, sampler="joint", checkpoint_every=2) | {"encoder": str(tiny)}
    whole = facts(ran(recipe, tmp_path / "whole"))
    with dies_in_step(4):
        ran(recipe, tmp_path / "halves")
    assert facts(ran(recipe, tmp_path / "halves", resume=True)) == whole


@given(st.lists(st.tuples(st.integers(1, 30), st.booleans()), max_size=12), st.integers(1, 60))
def test_a_pass_holds_what_reads_alike_in_order_and_no_more_tokens_than_allowed(
    drawn: list[tuple[int, bool]], limit: int
) -> None:
    tokens, first_only = [n for n, _ in drawn], [kind for _, kind in drawn]
    found = list(in_passes(tokens, first_only, limit))
    placed = [place for group in found for place in group]
    assert sorted(placed) == list(range(len(drawn)))
    assert placed == sorted(placed, key=lambda place: (first_only[place], place))
    for group in found:
        assert len(group) == 1 or sum(tokens[place] for place in group) <= limit
        assert len({first_only[place] for place in group}) == 1
    for one, other in itertools.pairwise(found):  # as few as can be
        fits = sum(tokens[place] for place in one) + tokens[other[0]] <= limit
        assert not fits or first_only[one[0]] != first_only[other[0]]
