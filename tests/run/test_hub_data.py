"""Data sets of the hub by name: fetched once, kept, hashed, and refused in words."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

import trivium
from tests.support.datasets_hub import DataHub, running
from tests.support.tables import WORDS, sentence
from trivium.digest import sha256
from trivium.errors import RecipeError
from trivium.recipe import Recipe, parse_recipe
from trivium.recipe.dumping import recipe_values
from trivium.run.rows.load import load_data

datasets = pytest.importorskip("datasets")

NAME = "desk/moods"
HUB = {"hub": NAME, "split": "train"}
ROWS = 40


def quiet() -> Console:
    return Console(file=StringIO())


def rows(first: int = 0) -> list[dict[str, Any]]:
    texts = [sentence(7 * number) for number in range(first, first + ROWS)]
    moods = [WORDS.index(text.split()[0]) % 2 for text in texts]
    return [
        {"text": text, "mood": mood, "tags": [mood], "seen": 1.5, "raw": b"x", "note": None}
        for text, mood in zip(texts, moods, strict=True)
    ]


def features() -> Any:
    label = datasets.ClassLabel(names=["down", "up"])
    return datasets.Features(
        {
            "text": datasets.Value("string"),
            "mood": label,
            "tags": datasets.Sequence(label),
            "seen": datasets.Value("float64"),
            "raw": datasets.Value("binary"),
            "note": datasets.Value("string"),
        }
    )


def write(home: Path, config: str = "data") -> None:
    """A data set as the hub holds one: Parquet files named by their split."""
    folder = home / NAME / config
    folder.mkdir(parents=True, exist_ok=True)
    for split, first in (("train", 0), ("validation", ROWS)):
        made = datasets.Dataset.from_list(rows(first), features=features())
        made.to_parquet(folder / f"{split}-00000-of-00001.parquet")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with the data set in it, and caches of its own."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("TRIVIUM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    datasets.disable_progress_bars()
    write(here)
    yield here
    datasets.enable_progress_bars()


def recipe(train: Any = HUB, **more: Any) -> Recipe:
    task = {"kind": "classification", "text": "text", "label": "mood", "train": train, **more}
    return parse_recipe({"tasks": {"mood": task}})


def kept(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "data").glob("*"))


def test_rows_are_those_of_the_data_set_with_labels_by_their_names(tmp_path: Path) -> None:
    found, data = load_data(recipe())
    told = rows()
    assert getattr(found.tasks["mood"], "names", None) == ["down", "up"]
    examples = data["mood"]["train"].examples
    assert [(e.texts[0], e.target) for e in examples] == [(r["text"], r["mood"]) for r in told]
    (file,) = kept(tmp_path)
    first = json.loads(file.read_text().splitlines()[0])
    assert first == {
        "text": told[0]["text"], "mood": ["down", "up"][told[0]["mood"]],
        "tags": json.dumps([["down", "up"][told[0]["mood"]]]), "seen": 1.5, "note": None,
    }  # fmt: skip


def test_a_run_is_trained_resumed_and_judged_on_them_and_says_which(
    tiny: Path, tmp_path: Path
) -> None:
    values = {
        "encoder": str(tiny), "device": "cpu", "precision": "fp32", "probe": False,
        "tasks": {"mood": {
            "kind": "classification", "text": "text", "label": "mood",
            "train": HUB, "dev": {**HUB, "split": "validation"},
        }},
        "stages": [{"steps": 2, "batch_size": 8}],
    }  # fmt: skip
    scores = trivium.train(values, tmp_path / "run", console=quiet())
    assert scores["tasks"]["mood"]["dev"]["rows"] == ROWS
    told = json.loads((tmp_path / "run" / "data.json").read_text())
    digests = {sha256(path) for path in kept(tmp_path)}
    assert {file["sha256"] for file in told["files"].values()} == digests
    assert set(told["files"]) == {"hub:desk/moods:train", "hub:desk/moods:validation"}
    said = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert said["tasks"]["mood"]["train"] == HUB
    again = trivium.evaluate(tmp_path / "run", console=quiet())
    assert again["tasks"]["mood"]["dev"] == scores["tasks"]["mood"]["dev"]
    assert trivium.train(values, tmp_path / "run", resume=True, console=quiet()) == scores


def test_what_is_said_of_a_data_set_is_said_again_as_it_was() -> None:
    whole = {**HUB, "config": "plain", "revision": "v1", "rows": 5, "license": "MIT"}
    values = recipe_values(recipe(whole, dev=0.1))
    assert values["tasks"]["mood"]["train"] == whole
    assert parse_recipe(values) == recipe(whole, dev=0.1)


def test_a_folder_that_changed_is_read_again(home: Path) -> None:
    _, data = load_data(recipe())
    assert len(data["mood"]["train"].examples) == ROWS
    made = datasets.Dataset.from_list(rows()[:7], features=features())
    made.to_parquet(home / NAME / "data" / "train-00000-of-00001.parquet")
    _, data = load_data(recipe())
    assert len(data["mood"]["train"].examples) == 7


def test_shares_and_other_settings_of_a_file_hold_for_a_data_set() -> None:
    found, data = load_data(recipe({**HUB, "relabel": {"up": "high"}, "rows": 30}, dev=0.2))
    assert getattr(found.tasks["mood"], "names", None) == ["down", "high"]
    assert 0 < len(data["mood"]["dev"].examples) < ROWS / 2


def test_rows_and_columns_are_refused_by_the_data_sets_name() -> None:
    with pytest.raises(RecipeError, match=r"hub:desk/moods:train.*'txt'"):
        load_data(recipe(text="txt"))
    with pytest.raises(RecipeError, match=r"hub:desk/moods:train:1: .*'(up|down)'"):
        load_data(recipe(labels=["good", "bad"]))


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ({**HUB, "split": "trian"}, "has no such `split`: .*trian.*train"),
        ({**HUB, "config": "other"}, "has no such `config`: .*other"),
        ({**HUB, "hub": "desk/nothing"}, "not in the cache, .* since HF_HUB_OFFLINE is set"),
    ],
)
def test_what_there_is_not_is_told_in_words(train: Any, said: str) -> None:
    with pytest.raises(RecipeError, match=f"^hub:.*{said}"):
        load_data(recipe(train))


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ({"hub": NAME}, "say which `split`"),
        ({**HUB, "file": "a.csv"}, "in the place of `file`"),
        ({"file": "a.csv", "split": "train"}, "split: is of a data set"),
        ({**HUB, "hub": "https://x/y"}, "hub"),
        ({**HUB, "hub": "../secret"}, "hub"),
    ],
)
def test_a_recipe_that_says_it_wrong_is_refused(train: Any, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        recipe(train)


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(RecipeError, match=r"hub:desk/moods:train: .*trivium\[datasets\]"):
        load_data(recipe())


OVER_HTTP = """
import sys, time
slept = time.sleep
time.sleep = lambda s: slept(min(s, 0.01))  # 23 s between tries of a hub that is not there
from trivium.errors import RecipeError
from trivium.recipe import parse_recipe
from trivium.run.rows.load import load_data

def tried(name, **more):
    task = {"kind": "classification", "text": "text", "label": "mood"}
    source = {"hub": name, "split": "train", **more}
    try:
        _, data = load_data(parse_recipe({"tasks": {"mood": task | {"train": source}}}))
        print(len(data["mood"]["train"].examples))
    except RecipeError as error:
        print(error)

for name in sys.argv[1:]:
    tried(name)
"""


@pytest.mark.thorough
@pytest.mark.whole_run
def test_a_data_set_is_asked_of_the_hub_once_and_then_of_nobody(home: Path, tmp_path: Path) -> None:
    folder = home / NAME / "data"
    files = {f"data/{path.name}": path.read_bytes() for path in folder.iterdir()}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def said(*names: str, **words: str) -> list[str]:
        given = os.environ | {
            "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.url,
            "PYTHONPATH": str(Path(trivium.__file__).parents[1]), **words,
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", OVER_HTTP, *names], env=given, cwd=elsewhere, check=True,
            capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout.splitlines()

    with running(DataHub(NAME, files)) as hub:
        first = said(NAME, "desk/nothing")
        assert first[0] == str(ROWS)
        assert first[1].startswith("hub:desk/nothing:train: the hub has no data set of that name")
        assert any(each.startswith("GET") and each.endswith(".parquet") for each in hub.asked)
        hub.asked.clear()
        (file,) = kept(tmp_path)
        whole = file.read_bytes()
        file.write_bytes(whole[:-100])  # made again, of what the library itself keeps
        offline = said(NAME, "desk/other", HF_DATASETS_OFFLINE="1")
        assert offline[0] == str(ROWS)
        assert "not in the cache, and the hub is not asked, since HF_DATASETS" in offline[1]
        assert hub.asked == []
    assert file.read_bytes() == whole
    shutil.rmtree(tmp_path / "hf")
    gone = said(NAME, "desk/other")
    assert gone[0] == str(ROWS)
    assert "the hub could not be reached" in gone[1]
