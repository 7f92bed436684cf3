"""What a preview notes of labels and texts that may not be what was meant."""

import json
import math
import shutil
from io import StringIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

import trivium
from trivium.errors import RecipeError
from trivium.model.encoder import Encoder
from trivium.model.pretrained import read_config, save_encoder
from trivium.recipe import parse_recipe
from trivium.run.assembly.model import build
from trivium.run.rows.load import load_data
from trivium.text.tokenizer import Tokenizer


def values(tiny: Path, train: Path, **settings: Any) -> dict[str, Any]:
    task = {"kind": "classification", "text": "text", "label": "label", "train": str(train)}
    return {
        "encoder": str(tiny),
        "device": "cpu",
        "precision": "fp32",
        "tasks": {"mood": task | settings},
        "stages": [{"steps": 1, "batch_size": 2}],
    }


def notes(tiny: Path, train: Path, **settings: Any) -> list[str]:
    recipe = parse_recipe(values(tiny, train, **settings))
    screen = StringIO()
    found = trivium.check(recipe, Console(file=screen, width=1000)).warnings
    assert all(f"note {line}" in screen.getvalue() for line in found)  # no markup is eaten
    return [line for line in found if "no dev file" not in line and "an epoch shows" not in line]


def jsonl(folder: Path, labels: list[Any], texts: list[str] | None = None) -> Path:
    path = folder / "t.jsonl"
    texts = texts or [f"good cat {'very ' * n}" for n in range(len(labels))]
    rows = zip(texts, labels, strict=True)
    lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


# --- labels ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "settings", "said"),
    [
        (["a", "b"], {}, []),
        (["02116", "2116"], {}, []),
        ([1, 2, 1.0], {}, ["train: labels are read as the same number: '1.0' as '1'"]),
        (
            ["02116", "1e0"],
            {"labels": [1, 2116]},
            ["train: labels are read as the same number: '02116' as '2116', '1e0' as '1'"],
        ),
        (
            ["Yes", "yes", "no"],
            {},
            ["labels differ in case, spaces or the coding of letters only: 'Yes' and 'yes'. "
             "`relabel` makes them one"],
        ),
        (
            ["café", "cafe\u0301", "a  b", "a b"],
            {},
            ["labels differ in case, spaces or the coding of letters only: 'a  b' and 'a b', "
             "'cafe\\u0301' and 'café'. `relabel` makes them one"],
        ),
        (
            ["['a', 'b']", "[]"],
            {},
            ["labels look like lists: \"['a', 'b']\", '[]'. Lists in JSON or Python are read "
             "where the task is `kind: multilabel`"],
        ),
        (["['a', 'b']", '["c"]'], {"kind": "multilabel"}, []),
        (
            ["[a, b]", "[c, b]"],
            {"kind": "multilabel"},
            ["labels look like pieces of a list: '[a', '[c', 'b]'"],
        ),
        (
            ["a; b", "c; a", "b"],
            {"kind": "multilabel"},
            ["labels hold ';': 'a; b', 'c; a'. If it stands between labels say `separator: ';'`"],
        ),
        (
            ["nan", "a", "None", "b"],
            {},
            ["labels look like missing ones: 'None', 'nan'. Leave such cells empty where nobody "
             "labelled the row"],
        ),
    ],
)  # fmt: skip
def test_labels_that_may_not_be_what_was_meant_are_noted(
    tiny: Path, tmp_path: Path, labels: list[Any], settings: dict[str, Any], said: list[str]
) -> None:
    found = notes(tiny, jsonl(tmp_path, labels), **settings)
    assert found == [f"mood: {line}" for line in said]


@pytest.mark.parametrize("kind", ["classification", "multilabel", "ordinal"])
def test_nan_in_parquet_is_a_missing_label(tmp_path: Path, tiny: Path, kind: str) -> None:
    path = tmp_path / "t.parquet"
    label = pa.array([0.0, math.nan, 1.0, None], pa.float64())
    pq.write_table(pa.table({"text": ["a", "b", "c", "d"], "label": label}), path)
    settings = {"kind": kind, "missing_labels": "allow"}
    found, data = load_data(parse_recipe(values(tiny, path, **settings)))
    assert list(getattr(found.tasks["mood"], "labels")) == ["0", "1"]  # noqa: B009
    assert data["mood"]["train"].unlabelled == 2
    with pytest.raises(RecipeError, match=r"t\.parquet:2: column 'label' is empty"):
        load_data(parse_recipe(values(tiny, path, kind=kind)))


def test_nan_in_parquet_is_a_missing_score_and_a_missing_word(tmp_path: Path, tiny: Path) -> None:
    path = tmp_path / "t.parquet"
    words = pa.array(["x", None, "y"]).dictionary_encode()
    score = pa.array([0.5, math.nan, 1.0], pa.float32())
    pq.write_table(pa.table({"text": ["a", "b", "c"], "label": words, "score": score}), path)
    for settings in ({"kind": "regression", "label": "score"}, {"label": "label"}):
        recipe = parse_recipe(values(tiny, path, **settings, missing_labels="allow"))
        assert load_data(recipe)[1]["mood"]["train"].unlabelled == 1
        with pytest.raises(RecipeError, match=r"t\.parquet:2: column '\w+' is empty"):
            load_data(parse_recipe(values(tiny, path, **settings)))


def test_an_order_of_equal_numbers_is_refused(tmp_path: Path, tiny: Path) -> None:
    path = jsonl(tmp_path, ["1", "01", "2"])
    with pytest.raises(RecipeError, match="holds '01' and '1', which are the same number"):
        load_data(parse_recipe(values(tiny, path, kind="ordinal")))


# --- texts -------------------------------------------------------------------------------------


def test_texts_of_another_script_and_texts_without_pieces_are_noted(
    tiny: Path, tmp_path: Path
) -> None:
    train = jsonl(tmp_path, ["a", "b", "a"], ["日本語の文", "もう一つ", "good"])
    dev = tmp_path / "dev.jsonl"
    dev.write_text('{"text": "\\u200b\\u200e", "label": "a"}\n{"text": "cat", "label": "b"}\n')
    assert notes(tiny, train, dev=str(dev)) == [
        "mood: train: 89% of the word pieces are [UNK]: the encoder's vocabulary does not know "
        "these texts. Take an encoder that was trained on their language",
        "mood: dev: texts without any word piece, which are read all alike: 1",
    ]


def test_an_id_beyond_the_embedding_is_refused(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "gap"
    shutil.copytree(tiny, folder)
    Tokenizer(tiny).save(folder)
    told = json.loads((folder / "tokenizer.json").read_text())
    pieces = told["model"]["vocab"]
    del pieces["a"]
    pieces["b"] = 5000
    (folder / "tokenizer.json").write_text(json.dumps(told))
    with pytest.raises(RecipeError, match=r"a piece with the id 5,000, but the encoder's 48 vect"):
        build(parse_recipe(values(folder, jsonl(tmp_path, ["a", "b"]), labels=["a", "b"])))


def test_a_pair_in_one_sequence_is_refused_where_the_encoder_knows_one_segment(
    tiny: Path, tmp_path: Path
) -> None:
    config = read_config(tiny).model_copy(update={"type_vocab_size": 1})
    (tmp_path / "one").mkdir()
    save_encoder(Encoder(config), tmp_path / "one")
    Tokenizer(tiny).save(tmp_path / "one")
    (tmp_path / "t.tsv").write_text("first\tsecond\tlabel\na\tb\tx\nc\td\ty\n")
    recipe = values(tmp_path / "one", tmp_path / "t.tsv", text=["first", "second"], encode="joint")
    with pytest.raises(RecipeError, match=r"tasks\.mood: both texts .* `encode: separate`"):
        trivium.check(parse_recipe(recipe), Console(file=StringIO()))
    recipe["tasks"]["mood"] |= {"encode": "separate", "head": "concat"}
    trivium.check(parse_recipe(recipe), Console(file=StringIO()))


# --- settings ----------------------------------------------------------------------------------


def test_what_a_stage_says_of_a_task_that_it_does_not_train_is_told(
    recipe_values: dict[str, Any],
) -> None:
    settings = {
        "batch_size": {"mood": 8, "near": 4},
        "rows_per_epoch": {"near": 4},
        "weights": {"near": 2.0, "mood": 0.5},
        "lr": {"encoder": 1e-5, "heads": {"near": 1e-3, "mood": 1e-2}},
    }
    stage = {"name": "first", "tasks": ["mood", "same"], "steps": 1, **settings}
    both = [stage, {"name": "second", "steps": 1, **settings}]
    recipe = parse_recipe(recipe_values | {"stages": both})
    said = Console(file=StringIO(), width=1000)
    found = [line for line in trivium.check(recipe, said).warnings if "does nothing" in line]
    assert found == [
        f"stage first: {setting}.near does nothing, since this stage does not train near: its "
        "`tasks` are mood, same"
        for setting in ("batch_size", "rows_per_epoch", "weights", "lr.heads")
    ]
