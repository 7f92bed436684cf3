"""Texts that are too long: training, prediction and a saved model keep the same part of them."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

import trivium
from trivium.errors import RecipeError
from trivium.recipe import parse_recipe
from trivium.run.assembly.model import build
from trivium.run.folder.model import save_model
from trivium.run.predictor.trained import load_trained
from trivium.run.rows.encoded import encode_all, packer_for
from trivium.run.rows.load import load_data

LONG = "good bad fine awful red blue green day night cat dog fish"
PARTS = {
    "head": "good bad fine awful red blue green day",
    "tail": "red blue green day night cat dog fish",
    "head_tail": "good bad green day night cat dog fish",
}


def saved(values: dict[str, Any], folder: Path, **task: Any) -> Path:
    """A model folder of the recipe, untrained."""
    tasks = {name: given | task for name, given in values["tasks"].items()}
    recipe, _ = load_data(parse_recipe(values | {"tasks": tasks}))
    model, tokenizer = build(recipe)
    save_model(model, recipe.tasks, tokenizer, folder, precision="fp32")
    return folder


@pytest.mark.parametrize("cut", PARTS)
def test_a_saved_model_reads_the_part_that_its_recipe_keeps(
    recipe_values: dict[str, Any], tmp_path: Path, cut: str
) -> None:
    predictor = load_trained(saved(recipe_values, tmp_path / "model", cut=cut, max_length=10))
    whole, part = predictor.readout("mood", [LONG, PARTS[cut]])
    assert torch.equal(whole, part)
    others = [text for name, text in PARTS.items() if name != cut]
    for other in predictor.readout("mood", others):
        assert not torch.allclose(whole, other, atol=1e-4)
    # Apart each text of a pair has room of its own; together they share it: 4 places and 3.
    apart = predictor.readout("near", [(LONG, "not"), (PARTS[cut], "not")])
    assert torch.equal(apart[0], apart[1])
    short = {"head": "good bad fine awful", "tail": "night cat dog fish"}.get(cut)
    short = short or "good cat dog fish"
    joint = predictor.readout("same", [(LONG, "very not runs"), (short, "very not runs")])
    assert torch.equal(joint[0], joint[1])
    kept = json.loads((tmp_path / "model" / "trivium.json").read_text())["tasks"]
    assert {task["cut"] for task in kept.values()} == {cut}


def test_a_model_saved_before_there_was_a_choice_keeps_the_head(
    recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    folder = saved(recipe_values, tmp_path / "model", max_length=10)
    path = folder / "trivium.json"
    told = json.loads(path.read_text())
    for task in told["tasks"].values():
        del task["cut"]
    path.write_text(json.dumps(told))
    whole, part = load_trained(folder).readout("mood", [LONG, PARTS["head"]])
    assert torch.equal(whole, part)


def test_training_rows_are_cut_as_texts_to_answer_are(recipe_values: dict[str, Any]) -> None:
    recipe_values["tasks"]["mood"] |= {"cut": "tail", "max_length": 4}
    recipe, data = load_data(parse_recipe(recipe_values))
    _, tokenizer = build(recipe)
    encoded = encode_all(recipe, data, tokenizer, 64)["mood"]
    assert encoded.packer == packer_for(recipe.tasks["mood"], tokenizer, 64)
    text = data["mood"]["train"].examples[0].texts[0]
    (wanted,) = tokenizer([text])
    ids = encoded.batch(np.asarray([0])).tokens.ids_N.tolist()
    assert ids == [tokenizer.cls, *wanted[-2:], tokenizer.sep]


def test_check_says_what_is_cut_and_what_stays(recipe_values: dict[str, Any]) -> None:
    recipe_values["tasks"]["mood"] |= {"cut": "head_tail", "max_length": 4}
    out = StringIO()
    trivium.check(parse_recipe(recipe_values), Console(file=out, width=300))
    said = "mood: 96 training texts are cut to 4 word pieces, special ones included (kept"
    assert said in out.getvalue()


def test_a_part_that_is_none_is_refused(recipe_values: dict[str, Any]) -> None:
    recipe_values["tasks"]["mood"] |= {"cut": "middle"}
    with pytest.raises(RecipeError, match=r"tasks.mood.cut: .*'head', 'tail' or 'head_tail'"):
        parse_recipe(recipe_values)
