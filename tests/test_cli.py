"""The command line: what it says of bad input, in one message, with exit code 2 and no trace."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from rich.console import Console

import trivium
from tests.support.exports import LABELS, TEXT, untrained
from tests.support.processes import PATIENCE_S
from tests.support.shell import call
from tests.support.tables import make_recipe
from trivium.cli import main
from trivium.recipe import parse_recipe

Spoil = Callable[[dict[str, Any], Path], None]


@pytest.fixture
def values(tiny: Path, tmp_path: Path) -> dict[str, Any]:
    return make_recipe(tiny, tmp_path)


def file(name: str, content: str | bytes) -> Spoil:
    def spoil(values: dict[str, Any], folder: Path) -> None:
        data = content if isinstance(content, bytes) else content.encode()
        (folder / "data" / name).write_bytes(data)

    return spoil


def setting(path: str, value: Any) -> Spoil:
    def spoil(values: dict[str, Any], folder: Path) -> None:
        place: Any = values
        *parents, last = path.split(".")
        for key in parents:
            place = place[int(key)] if key.isdigit() else place[key]
        place[last] = value

    return spoil


HEAD = "id\ttext\tmood\n"

BAD_INPUT: dict[str, tuple[Spoil, list[str]]] = {
    "a wrong key": (setting("stages.0.epoch", 3), ["stages.0.epoch", "did you mean 'epochs'"]),
    "a wrong kind": (
        setting("stages.0.sampler", "anealed"),
        ["stages.0.sampler", "did you mean 'annealed'"],
    ),
    "a missing column": (
        setting("tasks.mood.text", "txt"),
        ["task 'mood'", "mood-train.tsv", "no column 'txt'", "did you mean 'text'"],
    ),
    "a missing file": (setting("tasks.mood.dev", "mood-dve.tsv"), ["mood-dve.tsv", "mood-dev.tsv"]),
    "a label outside labels": (
        setting("tasks.mood.labels", ["up", "sideways"]),
        ["mood-train.tsv:", "holds 'down'", "['up', 'sideways']", "bad_rows: skip"],
    ),
    "a score outside its range": (
        setting("tasks.near.range", [0, 0.5]),
        ["near-train.tsv:", "outside its range [0, 0.5]"],
    ),
    "text that is not UTF-8": (
        file("mood-train.tsv", HEAD.encode() + b"1\tcaf\xe9\tup\n"),
        ["mood-train.tsv:2", "0xe9", "UTF-8"],
    ),
    "an empty file": (file("mood-train.tsv", ""), ["mood-train.tsv", "empty"]),
    "only a header": (file("mood-train.tsv", HEAD), ["mood-train.tsv", "no labelled rows"]),
    "an unbalanced quote": (
        file("mood-train.tsv", HEAD + '1\tgood\tup\n2\t"bad\tdown\n3\tfine\tup\n'),
        ["mood-train.tsv:3", "quot"],
    ),
    "too few cells": (file("mood-train.tsv", HEAD + "1\tgood\n"), ["mood-train.tsv:2", "2 cells"]),
    "too many cells": (
        file("mood-train.tsv", HEAD + "1\tgood\tup\textra\n"),
        ["mood-train.tsv:2", "4 cells"],
    ),
    "NUL bytes": (file("mood-train.tsv", HEAD + "1\tgo\0od\tup\n"), ["mood-train.tsv:2", "NUL"]),
    "a folder for a file": (setting("tasks.mood.train", "."), ["data", "folder"]),
    "an unknown encoder": (setting("encoder", "./nowhere"), ["nowhere", "encoder"]),
    "an unknown hub name": (setting("encoder", "bert-base-nowhere"), ["HF_HUB_OFFLINE", "minilm"]),
    "a missing data folder": (setting("data", "nowhere"), ["data", "nowhere"]),
    "a pair head on a text": (
        setting("tasks.mood.head", "cosine"),
        ["tasks.mood", "head: cosine does not fit"],
    ),
    "too long": (setting("tasks.mood.max_length", 900), ["tasks.mood.max_length", "900", "64"]),
    "no GPU": (setting("device", "cuda:7"), ["device", "cuda:7"]),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_is_one_message_and_writes_nothing(
    values: dict[str, Any], tmp_path: Path, name: str
) -> None:
    if name == "no GPU" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    spoil, said = BAD_INPUT[name]
    spoil(values, tmp_path)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(values))
    before = sorted(tmp_path.rglob("*"))
    commands: list[list[str | Path]] = [
        ["train", recipe, "--out", tmp_path / "run"],
        ["check", recipe],
    ]
    for command in commands:
        code, output = call(*command)
        assert code == 2, output
        assert output.count("error ") == 1
        assert "Traceback" not in output
        for words in said:
            assert words in output
        assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tasks: !!python/object/apply:os.system ['touch hacked']", "tag"),
        ("tasks: {a: 1, a: 2}", "twice"),
        ("", "empty"),
        ("- a\n- b", "list"),
        ("tasks: [", "recipe.yaml:"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text)
    code, output = call("check", recipe)
    assert (code, output.count("error ")) == (2, 1)
    assert said in output
    assert not (tmp_path / "hacked").exists()


def write(values: dict[str, Any], folder: Path) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_an_existing_run_is_refused_resumed_or_replaced(
    values: dict[str, Any], tmp_path: Path
) -> None:
    recipe, run = write(values, tmp_path), tmp_path / "run"
    assert call("train", recipe, "--out", run, "--set", "stages.0.steps=2")[0] == 0
    before = (run / "scores.json").read_bytes()
    code, output = call("train", recipe, "--out", run)
    assert code == 2
    assert "--resume" in output
    assert "--overwrite" in output
    assert (run / "scores.json").read_bytes() == before
    (run / "notes.txt").write_text("mine")
    assert call("train", recipe, "--out", run, "--overwrite", "--set", "stages.0.steps=3")[0] == 0
    assert (run / "scores.json").read_bytes() != before
    assert (run / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("preset", ["good", "best"])
def test_to_go_on_with_a_run_and_to_replace_it_are_not_asked_at_once(
    values: dict[str, Any], tmp_path: Path, preset: str
) -> None:
    recipe, run = write(values, tmp_path), tmp_path / "run"
    both = [("--resume", "--overwrite"), ("--auto-resume", "--overwrite")]
    for options in (*both, ("--resume", "--auto-resume")):
        code, output = call("train", recipe, "--out", run, "--preset", preset, *options)
        assert code == 2, output
        assert options[0] in output
        assert options[1] in output
        assert "give one of the two" in output.replace("\n", " ")
    assert not run.exists()


def test_a_folder_that_is_no_run_is_never_replaced(values: dict[str, Any], tmp_path: Path) -> None:
    home = tmp_path / "thesis"
    home.mkdir()
    (home / "chapter.txt").write_text("years of work")
    for option in ("--overwrite", "--resume"):
        code, output = call("train", write(values, tmp_path), "--out", home, option)
        assert code == 2, output
    assert (home / "chapter.txt").read_text() == "years of work"
    assert len(list(home.iterdir())) == 1


def test_an_unwritable_place_is_refused_before_any_work(
    values: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    places = [tmp_path / "file", tmp_path / "file" / "run"]
    if os.name == "posix" and Path("/proc").is_dir():
        places.append(Path("/proc/trivium-run"))  # read-only even for root
    for place in places:
        code, output = call("train", write(values, tmp_path), "--out", place)
        assert code == 2
        assert str(place) in output


def test_the_four_verbs_work_together(values: dict[str, Any], tmp_path: Path) -> None:
    recipe, run = write(values, tmp_path), tmp_path / "run"
    code, output = call("check", recipe)
    assert code == 0
    for words in ("mood", "train 96", "dev 32", "parameters trained", "GiB", "12 steps"):
        assert words in output
    code, output = call("train", recipe, "--out", run)
    assert code == 0
    assert str(run / "model") in output
    code, output = call("evaluate", run)
    assert code == 0
    assert "accuracy" in output
    source, target = tmp_path / "data" / "mood-dev.tsv", tmp_path / "answers.csv"
    code, output = call("predict", run, "--task", "mood", "--file", source, "--out", target)
    assert (code, "32 rows answered" in output) == (0, True)
    assert target.read_text().splitlines()[0] == "id,text,mood,prediction,confidence"


def test_evaluate_json_is_all_of_standard_output(values: dict[str, Any], tmp_path: Path) -> None:
    scores = trivium.train(parse_recipe(values), tmp_path / "run", console=Console(file=StringIO()))
    done = subprocess.run(
        [sys.executable, "-m", "trivium", "evaluate", str(tmp_path / "run"), "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    for task, splits in scores["tasks"].items():
        assert found["tasks"][task]["dev"] == pytest.approx(splits["dev"], abs=1e-6)


def test_nothing_to_judge_is_refused_however_it_is_asked(tiny: Path, tmp_path: Path) -> None:
    run = untrained(tmp_path / "run", tiny, {"one": {**TEXT, **LABELS}})
    asked = {
        (): "no labelled dev or test rows",
        ("--split", "dev"): "no labelled dev rows",
        ("--task", "one"): "no labelled dev or test rows for task 'one'",
    }
    for options, words in asked.items():
        code, output = call("evaluate", run, *options)
        assert code == 2, output
        assert words in " ".join(output.split())
        assert "--file" in output


@pytest.mark.parametrize("verb", ["check", "train", "evaluate", "predict", "lora", "study", "tune"])
def test_help_teaches_with_an_example(verb: str) -> None:
    code, output = call(verb, "--help")
    assert code == 0
    assert f"trivium {verb} r" in output


def test_a_run_without_a_model_says_how_to_go_on(tmp_path: Path) -> None:
    code, output = call("evaluate", tmp_path / "nowhere")
    assert code == 2
    assert "no such folder" in output


def test_lora_is_taken_elsewhere_and_a_run_without_it_is_told(
    values: dict[str, Any], tmp_path: Path
) -> None:
    lora = write(values | {"adapters": ["lora"]}, tmp_path)
    assert call("train", lora, "--out", tmp_path / "run")[0] == 0
    places = ["--peft", str(tmp_path / "peft"), "--merged", str(tmp_path / "merged")]
    code, output = call("lora", tmp_path / "run", *places)
    assert (code, output.count("written: ")) == (0, 2)
    assert (tmp_path / "peft" / "adapter_config.json").is_file()
    assert (tmp_path / "merged" / "model.safetensors").is_file()
    code, output = call("lora", tmp_path / "run", *places)
    assert (code, "is not empty; name another folder" in output) == (2, True)
    assert call("train", write(values, tmp_path), "--out", tmp_path / "plain")[0] == 0
    code, output = call("lora", tmp_path / "plain", "--peft", tmp_path / "other")
    assert (code, "this model has no LoRA" in output) == (2, True)


def test_a_study_says_which_recipe_a_change_does_not_fit(
    values: dict[str, Any], tmp_path: Path
) -> None:
    recipe = write(values, tmp_path)
    out = tmp_path / "study"
    code, output = call("study", recipe, "--out", out, "--set", "stages.3.steps=1")
    assert (code, output.count("error ")) == (2, 1)
    assert f"{recipe}: --set stages.3.steps=1" in output
    assert not out.exists()


def test_a_process_whose_parent_is_gone_is_interrupted() -> None:
    code = (
        "import os, time; from trivium.cli import _stop_without\n"
        "try: _stop_without(os.getppid() + 1); time.sleep(60)\n"
        "except KeyboardInterrupt: print('interrupted')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.stdout == "interrupted\n"


def test_a_process_whose_parent_is_gone_before_it_is_loaded_says_that_it_was_stopped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("atexit.register", lambda _: None)
    monkeypatch.setattr(sys, "argv", ["trivium", "--version"])
    monkeypatch.setattr("trivium.cli._stop_without", lambda _: None)
    before = signal.getsignal(signal.SIGINT)
    try:
        for told in (os.getppid(), os.getppid() + 1):
            monkeypatch.setenv("TRIVIUM_PARENT", str(told))
            with pytest.raises(SystemExit) as ended:
                main()
            assert ended.value.code == (0 if told == os.getppid() else 130)
            assert "TRIVIUM_PARENT" not in os.environ
    finally:
        signal.signal(signal.SIGINT, before)
    said = capsys.readouterr()
    assert said.err == "stopped\n"
    assert said.out.count("trivium") == 1
