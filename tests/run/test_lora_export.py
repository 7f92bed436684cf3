"""A run's LoRA taken to other libraries."""

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from rich.console import Console
from transformers import AutoModel, AutoTokenizer

import trivium
from trivium.errors import RecipeError
from trivium.recipe import parse_recipe
from trivium.run.predictor.trained import load_single


@pytest.fixture
def lora_run(recipe_values: dict[str, Any], tmp_path: Path) -> Path:
    adapters = [{"kind": "lora", "rank": 2}, {"kind": "pals", "size": 8, "heads": 2}]
    values = recipe_values | {"adapters": adapters}
    values["stages"] = [values["stages"][0] | {"steps": 6, "lr": 0.02}]
    trivium.train(parse_recipe(values), tmp_path / "run", console=Console(file=StringIO()))
    return tmp_path / "run"


@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft of transformers
def test_peft_and_the_merged_encoder_give_the_runs_own_vectors(
    lora_run: Path, tmp_path: Path
) -> None:
    peft = pytest.importorskip("peft")
    left = trivium.export_lora(lora_run, peft=tmp_path / "peft", merged=tmp_path / "merged")
    assert left == ["pals stays behind: it has no place in that format"]
    text = "good cat runs"
    wanted_D = load_single(lora_run).pooled([text], pooling="cls")[0]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    inputs = tokenizer(text, return_tensors="pt")
    base = AutoModel.from_pretrained(lora_run / "model").eval()
    with torch.no_grad():
        plain_D = base(**inputs).last_hidden_state[0, 0]
        merged = AutoModel.from_pretrained(tmp_path / "merged").eval()
        merged_D = merged(**inputs).last_hidden_state[0, 0]
        there = peft.PeftModel.from_pretrained(base, tmp_path / "peft").eval()
        peft_D = there(**inputs).last_hidden_state[0, 0]
    assert (plain_D - wanted_D).abs().max() > 1e-3, "LoRA has learned something"
    torch.testing.assert_close(merged_D, wanted_D, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(peft_D, wanted_D, atol=1e-5, rtol=1e-4)


@pytest.mark.thorough
def test_lora_may_begin_from_a_peft_folder(
    lora_run: Path, recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    trivium.export_lora(lora_run, peft=tmp_path / "peft")
    values = recipe_values | {"adapters": [{"kind": "lora", "rank": 2, "start": "peft"}]}
    values["stages"] = [values["stages"][0] | {"steps": 1, "lr": 0.0}]
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    trivium.train(path, tmp_path / "again", console=Console(file=StringIO()))
    texts = ["good cat runs", "bad"]
    first, again = (load_single(tmp_path / name).pooled(texts) for name in ("run", "again"))
    torch.testing.assert_close(again, first)


def test_what_cannot_be_exported_is_refused(
    lora_run: Path, recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match="say where to"):
        trivium.export_lora(lora_run)
    with pytest.raises(RecipeError, match="is not empty; name another folder"):
        trivium.export_lora(lora_run, peft=lora_run)
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(RecipeError, match="is a file; name a folder for the adapter"):
        trivium.export_lora(lora_run, peft=tmp_path / "taken")
    with pytest.raises(RecipeError, match="is a file, so no folder can be made in it"):
        trivium.export_lora(lora_run, merged=tmp_path / "taken" / "deeper")
    values = recipe_values | {"stages": [{"steps": 1}]}
    trivium.train(parse_recipe(values), tmp_path / "plain", console=Console(file=StringIO()))
    with pytest.raises(RecipeError, match="this model has no LoRA"):
        trivium.export_lora(tmp_path / "plain", merged=tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
