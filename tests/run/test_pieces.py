"""A batch that goes through the model in pieces teaches what it would as a whole."""

import copy
import itertools
import json
import shutil
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import trivium
from tests.support.thorough import some_of
from trivium.model.weights import read_tensors, read_weights
from trivium.recipe import parse_recipe
from trivium.run.assembly.model import build
from trivium.run.folder.journal import read_journal
from trivium.run.rows.encoded import encode_all
from trivium.run.rows.load import load_data
from trivium.run.training.distributed import Processes
from trivium.run.training.pieces import pieces, split


@given(st.lists(st.integers(3, 60), min_size=1, max_size=40), st.integers(1, 400))
def test_pieces_hold_every_row_once_and_no_more_tokens_than_allowed(
    lengths: list[int], limit: int
) -> None:
    length_B = np.asarray(lengths)
    parts = split(length_B, limit)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(lengths)))
    for part in parts:
        assert len(part) == 1 or length_B[part].sum() <= limit
    # Like lengths together: no piece reaches into the lengths of the next one.
    for longer, shorter in itertools.pairwise(parts):
        assert length_B[longer].min() >= length_B[shorter].max()


def test_rows_that_fit_stay_in_their_order() -> None:
    (part,) = split(np.asarray([4, 9, 5]), 18)
    assert part.tolist() == [0, 1, 2]


@pytest.mark.parametrize("encode", ["separate", "joint"])
def test_the_tokens_of_rows_are_counted_as_packed(
    recipe_values: dict[str, Any], encode: str
) -> None:
    recipe_values["tasks"]["same"] |= {"encode": encode, "max_length": 7}
    recipe, data = load_data(parse_recipe(recipe_values))
    model, tokenizer = build(recipe)
    encoded = encode_all(recipe, data, tokenizer, model.encoder.config.max_position_embeddings)
    for task in encoded.values():
        rows = np.arange(len(task))
        for row, length in zip(rows, task.row_lengths(rows), strict=True):
            assert len(task.batch(np.asarray([row])).tokens.ids_N) == length


def without_dropout(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    values = copy.deepcopy(values)
    encoder = folder / "encoder"
    shutil.copytree(values["encoder"], encoder)
    config = json.loads((encoder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (encoder / "config.json").write_text(json.dumps(config))
    heads = {"mood": "linear", "same": "linear", "near": "cosine"}
    for name, task in values["tasks"].items():
        task["head"] = {"kind": heads[name], "dropout": 0.0}
    return values | {"encoder": str(encoder)}


STAGES: dict[str, dict[str, Any]] = {
    "sum": {},
    "surgery": {"sampler": "joint", "combiner": "pcgrad"},
    "accumulated": {"batches_per_step": 3},
    "bregman": {"sampler": "joint", "regularizers": ["bregman"]},
}


@pytest.mark.parametrize("name", some_of(STAGES, ("sum", "surgery").__contains__))
def test_pieces_teach_what_the_whole_batch_does(
    recipe_values: dict[str, Any], tmp_path: Path, name: str
) -> None:
    values = without_dropout(recipe_values, tmp_path)
    values["tasks"]["mood"]["class_weights"] = {"up": 10}
    # Texts of different lengths; a large eps keeps Adam from blowing rounding up.
    path = Path(values["data"]) / "mood-train.tsv"
    first, *rows = path.read_text().splitlines()
    longer = [row.replace("\t", "\t" + "very " * (i % 9), 1) for i, row in enumerate(rows)]
    path.write_text("\n".join([first, *longer]) + "\n")
    plain = {"optimizer": {"kind": "adamw", "eps": 1e-3}, "steps": 6, "batch_size": 11, "lr": 1e-3}
    found, events = [], []
    for limit in (10**6, 40):
        recipe = parse_recipe(
            values | {"stages": [plain | STAGES[name] | {"tokens_at_once": limit}]}
        )
        run = tmp_path / f"run-{limit}"
        trivium.train(recipe, run, console=Console(file=StringIO()))
        model = run / "model"
        found.append({**read_weights(model), **read_tensors(model / "heads.safetensors")})
        events.append([event for event in read_journal(run) if event["event"] == "step"])
    for name, tensor in found[0].items():
        torch.testing.assert_close(found[1][name], tensor, atol=2e-5, rtol=1e-4, msg=name)
    for whole, parts in zip(*events, strict=True):
        assert (whole["rows"], whole["tokens"]) == (parts["rows"], parts["tokens"])
        assert whole["losses"] == pytest.approx(parts["losses"], rel=1e-4)
        for task, kinds in whole.get("penalties", {}).items():
            assert kinds == pytest.approx(parts["penalties"][task], rel=1e-2, abs=1e-9)


def test_a_loss_that_compares_rows_keeps_them_together(recipe_values: dict[str, Any]) -> None:
    recipe_values["tasks"]["near"]["loss"] = "cosent"
    recipe, data = load_data(parse_recipe(recipe_values))
    model, tokenizer = build(recipe)
    encoded = encode_all(recipe, data, tokenizer, model.encoder.config.max_position_embeddings)
    alone, cpu = Processes(), torch.device("cpu")
    counts = {n: len(pieces(task, np.arange(12), 20, alone, cpu)) for n, task in encoded.items()}
    assert counts["near"] == 1
    assert counts["mood"] > 1
