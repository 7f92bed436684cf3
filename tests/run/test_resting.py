"""What of an encoder rests is computed once for each text, and nothing is otherwise."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor

import trivium
from tests.support.deaths import dies_in_step
from tests.support.facts import facts
from tests.support.native import kernels, kernels_precision_name, switched
from tests.support.tables import make_recipe
from trivium.errors import RecipeError
from trivium.model.encoder import Encoder
from trivium.recipe import parse_recipe
from trivium.run.training import parameters, resting
from trivium.types import Tokens

TOP = {"kind": "top", "layers": 1}
STAGES: dict[str, Any] = {"frozen": "frozen", "top": TOP | {"frozen_dropout": False}}
EVERY_STAGE = pytest.mark.parametrize("trains", STAGES.values(), ids=STAGES.keys())
HEADS: dict[str, Any] = {
    "mean": {"kind": "linear", "pooling": "mean"},
    "cls": {"kind": "linear", "pooling": "cls"},
    "max": {"kind": "linear", "pooling": "max"},
    "pooler": {"kind": "linear", "pooling": "pooler"},
    "bilstm": {"kind": "bilstm", "width": 8},
}


@pytest.fixture(autouse=True)
def compiled() -> Iterator[None]:
    """Only they compute a text alike in every batch; they are asked for wherever they are."""
    kernels()
    with switched("1"):
        yield


@pytest.fixture(scope="module")
def values(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return make_recipe(tiny, tmp_path_factory.mktemp("resting")) | {
        "precision": kernels_precision_name()
    }


def recipe_of(values: dict[str, Any], trains: Any, **stage: Any) -> dict[str, Any]:
    """Evaluated on the way, since that changes modes; rows come two times and more."""
    plain = {"batch_size": 24, "steps": 27, "evaluate_every": 10, "sampler": "round_robin"}
    return values | {"stages": [values["stages"][0] | plain | {"trains": trains} | stage]}


def ran(recipe: dict[str, Any], folder: Path, **how: Any) -> dict[str, object]:
    trivium.train(recipe, folder, console=Console(file=StringIO()), **how)
    return facts(folder)


@contextmanager
def nothing_kept() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parameters, "kept_texts", lambda *_: None)
        yield


@contextmanager
def embedded(*, judging: bool = False) -> Iterator[list[int]]:
    """How many texts go through the encoder in each pass of training, or of evaluations."""
    seen: list[int] = []
    embed = Encoder.embed

    def count(encoder: Encoder, tokens: Tokens) -> Tensor:
        if torch.is_inference_mode_enabled() is judging:
            seen.append(len(tokens.lengths_R))
        return embed(encoder, tokens)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Encoder, "embed", count)
        yield seen


def distinct(values: dict[str, Any], *tasks: str) -> int:
    """Texts of their training rows, with `same` as one of each pair."""
    texts: set[tuple[str, ...]] = set()
    for task in tasks:
        table = Path(values["data"]) / values["tasks"][task]["train"]
        rows = [line.split("\t") for line in table.read_text().splitlines()[1:]]
        if task == "mood":
            texts |= {(row[1],) for row in rows}
        elif task == "same":
            texts |= {(row[0], row[1]) for row in rows}
        else:
            texts |= {(row[column],) for row in rows for column in (0, 1)}
    return len(texts)


@EVERY_STAGE
def test_training_has_the_bits_that_it_has_when_every_batch_is_computed(
    values: dict[str, Any], trains: Any, tmp_path: Path
) -> None:
    recipe = recipe_of(values, trains)
    with embedded() as seen:
        kept = ran(recipe, tmp_path / "kept")
    with embedded() as all_seen, nothing_kept():
        expected = ran(recipe, tmp_path / "all")
    assert kept == expected
    # One text more where a batch had but one that was new.
    assert distinct(values, "mood", "near", "same") <= sum(seen)
    assert sum(seen) < 0.6 * sum(all_seen)


@EVERY_STAGE
def test_the_texts_of_evaluations_are_computed_once_too(
    values: dict[str, Any], trains: Any, tmp_path: Path
) -> None:
    recipe = recipe_of(values, trains, steps=9, evaluate_every=3)
    with embedded(judging=True) as seen:
        kept = ran(recipe, tmp_path / "kept")
    with embedded(judging=True) as all_seen, nothing_kept():
        assert ran(recipe, tmp_path / "all") == kept
    # The model that is kept is judged once more, by itself; a dev text stands in training, too.
    assert sum(all_seen) - 4 <= 2 * sum(seen) < sum(all_seen)


@EVERY_STAGE
@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS.keys())
def test_every_head_reads_what_it_ever_read(
    values: dict[str, Any], trains: Any, head: dict[str, Any], tmp_path: Path
) -> None:
    recipe = recipe_of(values, trains, steps=10, evaluate_every=10)
    recipe["tasks"] = {"mood": values["tasks"]["mood"] | {"head": head}}
    with embedded() as seen:
        kept = ran(recipe, tmp_path / "kept")
    assert sum(seen) == 96
    with nothing_kept():
        assert kept == ran(recipe, tmp_path / "all")


@EVERY_STAGE
def test_a_run_goes_on_to_the_bit_with_nothing_kept_from_before(
    values: dict[str, Any], trains: Any, tmp_path: Path
) -> None:
    recipe = recipe_of(values, trains, checkpoint_every=2)
    whole = ran(recipe, tmp_path / "whole")
    with dies_in_step(11):
        ran(recipe, tmp_path / "halves")
    assert ran(recipe, tmp_path / "halves", resume=True) == whole


def test_texts_that_find_no_room_are_computed_each_time_to_the_same_bits(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(values, STAGES["top"])
    with nothing_kept():
        expected = ran(recipe, tmp_path / "all")
    monkeypatch.setattr(resting, "ROOM", 60_000)
    with embedded() as seen:
        assert ran(recipe, tmp_path / "some") == expected
    assert sum(seen) > 1.2 * distinct(values, "mood", "near", "same")


@pytest.mark.parametrize("trains", ["full", TOP, {"kind": "gradual"}, "bitfit"])
def test_nothing_is_kept_where_lower_layers_learn_or_have_dropout(
    values: dict[str, Any], trains: Any, tmp_path: Path
) -> None:
    recipe = recipe_of(values, trains, steps=12, evaluate_every=12)
    recipe["tasks"] = {"mood": values["tasks"]["mood"]}
    with embedded() as seen:
        ran(recipe, tmp_path / "run")
    assert sum(seen) == 3 * 96


def test_an_encoder_without_dropout_keeps_below_its_top_unasked(
    values: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(values["encoder"], folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config))
    recipe = recipe_of(values | {"encoder": str(folder)}, TOP)
    with embedded() as seen:
        kept = ran(recipe, tmp_path / "kept")
    with embedded() as all_seen, nothing_kept():
        assert ran(recipe, tmp_path / "all") == kept
    assert sum(seen) < 0.6 * sum(all_seen)


def test_with_dropout_below_a_run_is_another_one(values: dict[str, Any], tmp_path: Path) -> None:
    runs = [
        ran(recipe_of(values, TOP | {"frozen_dropout": drops}, steps=3), tmp_path / str(drops))
        for drops in (True, False)
    ]
    assert runs[0]["heads"] != runs[1]["heads"]


def test_beside_adapters_no_layer_rests_and_a_recipe_that_says_so_is_refused(
    values: dict[str, Any],
) -> None:
    adapters = [{"kind": "lora", "freeze_base": False}]
    recipe = recipe_of(values | {"adapters": adapters}, STAGES["top"])
    with pytest.raises(RecipeError, match="no layer is frozen"):
        parse_recipe(recipe)
