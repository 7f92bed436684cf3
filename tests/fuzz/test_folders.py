"""Model folders of any content, sealed as if they were sound: loaded and asked, or refused."""

import json
import shutil
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import trivium
from tests.support.fuzz import JUNK, WORDS, cases, changed, damaged, refusal
from tests.support.tables import make_recipe
from trivium.digest import sha256
from trivium.recipe import parse_recipe

pytestmark = pytest.mark.fuzz

NAMES = ["trivium.json", "config.json", "tokenizer.json", "tokenizer_config.json"]
TENSORS = ["model.safetensors", "heads.safetensors", "adapters.safetensors", "vocab.txt"]


@pytest.fixture(scope="module")
def model(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzzed")
    values = make_recipe(tiny, folder)
    values["tasks"]["mood"]["head"] = {"kind": "mlp", "trunk": "shared"}
    values["adapters"] = [{"kind": "lora", "rank": 2}, {"kind": "pals", "size": 4, "heads": 2}]
    values["stages"][0] |= {"steps": 1}
    trivium.train(parse_recipe(values), folder / "run", console=Console(file=StringIO()))
    home = folder / "run" / "model"
    (home / "tokenizer_config.json").write_text('{"do_lower_case": true, "unk_token": "[UNK]"}')
    return home


@pytest.fixture(scope="module")
def place(model: Path) -> Path:
    shutil.copytree(model, model.parent / "changed")
    return model.parent / "changed"


def sealed(folder: Path) -> None:
    path = folder / "trivium.json"
    try:
        facts = json.loads(path.read_text())
        for name in [name for name in facts["files"] if (folder / name).is_file()]:
            facts["files"][name] = sha256(folder / name)
        path.write_text(json.dumps(facts))
    except (ValueError, TypeError, KeyError, RecursionError, OSError):
        return  # it was changed beyond that


def asked(folder: Path) -> None:
    def ask() -> None:
        predictor = trivium.load(folder, precision="fp32")
        for name, form in predictor.forms.items():
            row: Any = ("good cat", "bad dog") if form.is_pair else "good cat"
            assert len(predictor.predict(name, [row])) == 1
            predictor.probabilities(name, [row])

    refusal(ask)


def restored(model: Path, folder: Path, name: str) -> None:
    shutil.copyfile(model / name, folder / name)
    shutil.copyfile(model / "trivium.json", folder / "trivium.json")


@cases(0.1)
@given(data=st.data(), name=st.sampled_from(NAMES))
def test_a_folder_with_wrong_values_answers_or_is_refused(
    model: Path, place: Path, data: st.DataObject, name: str
) -> None:
    values = json.loads((model / name).read_text())
    (place / name).write_text(json.dumps(data.draw(changed(values))))
    sealed(place)
    asked(place)
    restored(model, place, name)


@pytest.mark.thorough
@cases(0.1)
@given(data=st.data(), name=st.sampled_from([*NAMES, *TENSORS]))
def test_a_folder_with_wrong_bytes_answers_or_is_refused(
    model: Path, place: Path, data: st.DataObject, name: str
) -> None:
    (place / name).write_bytes(data.draw(damaged((model / name).read_bytes())))
    sealed(place)
    asked(place)
    restored(model, place, name)


@pytest.fixture(scope="module")
def predictor(model: Path) -> trivium.Predictor:
    return trivium.load(model, precision="fp32")


@cases(0.05)
@given(task=st.sampled_from(["mood", "near", "same", "none"]), rows=JUNK, text=WORDS)
def test_any_rows_are_answered_or_refused(
    predictor: trivium.Predictor, task: str, rows: Any, text: str
) -> None:
    refusal(lambda: predictor.predict(task, rows))
    refusal(lambda: predictor.predict(task, (text, text)))
    refusal(lambda: predictor.probabilities(task, [text, rows]))
    refusal(lambda: predictor.answer(rows))
    refusal(lambda: predictor.answer([rows, {"text": text}]))
    refusal(lambda: predictor.answer([{"text": rows}]))
