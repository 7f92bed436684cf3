"""Model folders from elsewhere: refused in one line, with little memory, and nothing written."""

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file

import trivium
from tests.support.processes import PATIENCE_S
from tests.support.tables import make_recipe
from trivium.digest import sha256
from trivium.errors import RecipeError
from trivium.recipe import parse_recipe
from trivium.run.predictor.graph import read_facts

Spoil = Callable[[Path], None]


@pytest.fixture(scope="module")
def model(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stranger")
    values = make_recipe(tiny, folder)
    values["adapters"] = [{"kind": "lora", "rank": 2}, {"kind": "pals", "size": 4}]
    values["stages"][0] |= {"steps": 1}
    trivium.train(parse_recipe(values), folder / "run", console=Console(file=StringIO()))
    return folder / "run" / "model"


@pytest.fixture
def folder(model: Path, tmp_path: Path) -> Path:
    shutil.copytree(model, tmp_path / "model")
    return tmp_path / "model"


def resealed(folder: Path, change: Callable[[dict[str, Any]], None] = lambda _: None) -> None:
    """As somebody would who wants his files to be taken for sound."""
    path = folder / "trivium.json"
    facts = json.loads(path.read_text())
    for name in facts["files"]:
        if (folder / name).is_file():
            facts["files"][name] = sha256(folder / name)
    change(facts)
    path.write_text(json.dumps(facts))


def facts(**values: Any) -> Spoil:
    """Some values of trivium.json."""
    return lambda folder: resealed(folder, lambda told: told.update(values))


def task(name: str, **values: Any) -> Spoil:
    return lambda folder: resealed(folder, lambda told: told["tasks"][name].update(values))


def config(**values: Any) -> Spoil:
    def spoil(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))
        resealed(folder)

    return spoil


def content(name: str, data: bytes) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / name).write_bytes(data)
        resealed(folder)

    return spoil


def tokenizer(change: Callable[[dict[str, Any]], None]) -> Spoil:
    def spoil(folder: Path) -> None:
        path = folder / "tokenizer.json"
        values = json.loads(path.read_text())
        change(values)
        path.write_text(json.dumps(values))
        resealed(folder)

    return spoil


def listed(name: str) -> Spoil:
    return lambda folder: resealed(folder, lambda told: told["files"].update({name: "0" * 64}))


def link(name: str, target: str) -> Spoil:
    """A file of the folder in another place, which is as sealed."""

    def spoil(folder: Path) -> None:
        place = (folder / target).resolve()
        shutil.move(folder / name, place)
        (folder / name).symlink_to(place)

    return spoil


def raw(data: str) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / "trivium.json").write_text(data)

    return spoil


WIDE = {"kind": "mlp", "depth": 100, "width": 2**16}
HOSTILE: dict[str, tuple[Spoil, str]] = {
    "a file above": (listed("../secret"), "names '../secret', which is no file of this folder"),
    "an absolute file": (listed("/etc/passwd"), "names '/etc/passwd', which is no file of"),
    "a hidden file": (listed(".ssh/id"), "names '.ssh/id', which is no file of this folder"),
    "a link outside": (link("vocab.txt", "../vocab.txt"), "is a link that leads out of its folder"),
    "no digests": (facts(files=[1]), "does not say which files are its own"),
    "a digest that is none": (
        lambda folder: resealed(folder, lambda told: told["files"].update({"vocab.txt": [1]})),
        "vocab.txt: was altered after it was written",
    ),
    "unsealed weights": (
        lambda folder: resealed(folder, lambda told: told["files"].pop("model.safetensors")),
        "has no sha256 of model.safetensors",
    ),
    "not JSON": (raw("{"), "is missing or damaged"),
    "a list": (raw("[]"), "does not say which files are its own"),
    "nested without end": (raw("[" * 10**6), "stand too deep inside one another"),
    "digits without end": (raw('{"files": {}, "format": ' + "9" * 10**5 + "}"), "damaged"),
    "another format": (facts(format=10**60), "its format is a huge number"),
    "no precision": (facts(precision=None), "precision: None is neither fp32 nor bf16"),
    "a strange precision": (facts(precision=["x"] * 999), "is neither fp32 nor bf16"),
    "no tasks": (facts(tasks=None), "tasks cannot be read"),
    "tasks of nothing": (facts(tasks=[[]]), "tasks cannot be read"),
    "a task of no kind": (task("mood", kind="x" * 9999), "tasks cannot be read"),
    "labels of lists": (task("mood", labels=[[1], {}]), "which is no label"),
    "adapters of nothing": (facts(adapters=7), "tasks cannot be read"),
    "a head without end": (task("mood", head=WIDE), "tensor mood.hidden"),
    "a deep head": (task("mood", head={"kind": "mlp", "depth": 10**9}), "less than or equal to"),
    "a bilstm without end": (
        task("mood", head={"kind": "bilstm", "layers": 100, "width": 2**16}), "is missing",
    ),
    "labels without end": (
        task("mood", labels={str(n): str(n) for n in range(10**5)}),
        "mood.linear.bias has shape [2], but",
    ),
    "lora without end": (facts(adapters=[{"kind": "lora", "rank": 2**16}]), "adapters.safetensors"),
    "houlsby without end": (
        facts(adapters=[{"kind": "houlsby", "size": 2**16}]), "adapters.safetensors",
    ),
    "layers without end": (config(num_hidden_layers=10**9), "num_hidden_layers"),
    "more layers than there are": (config(num_hidden_layers=1000), "encoder.layer.999"),
    "a negative size": (config(hidden_size=-32), "hidden_size"),
    "a wide encoder": (config(hidden_size=2**16, intermediate_size=2**20), "has shape"),
    "a large vocabulary": (config(vocab_size=2**24), "has shape"),
    "a size of no type": (config(hidden_size={"a": 1}), "hidden_size"),
    "heads that claim more": (
        content("heads.safetensors", (2**40).to_bytes(8, "little") + b"{}"),
        "heads.safetensors: is truncated or not a safetensors file",
    ),
    "weights that are none": (content("model.safetensors", b"x" * 99), "is truncated or not"),
    "an id without vector": (
        tokenizer(lambda told: told["model"]["vocab"].update({"good": 10**6})), "the id 1,000,000",
    ),
    "a tokenizer that is none": (content("tokenizer.json", b'{"model": 7}'), "is not a tokenizer"),
    "a tokenizer nested without end": (content("tokenizer.json", b"[" * 10**6), "tokenizer"),
    "a tokenizer of another class": (
        content("tokenizer_config.json", b'{"tokenizer_class": "RobertaTokenizer"}'),
        "its tokenizer is a RobertaTokenizer",
    ),
}  # fmt: skip


def said(folder: Path) -> str:
    before = {path: path.lstat().st_mtime_ns for path in sorted(folder.parent.rglob("*"))}
    with pytest.raises(RecipeError) as caught:
        trivium.load(folder)
    assert {p: p.lstat().st_mtime_ns for p in sorted(folder.parent.rglob("*"))} == before
    return str(caught.value)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_folder_is_refused_in_one_line_and_nothing_is_written(
    folder: Path, name: str
) -> None:
    spoil, wanted = HOSTILE[name]
    spoil(folder)
    message = said(folder)
    assert wanted in message
    assert "\n" not in message
    assert len(message.replace(str(folder), "")) < 500


LIMITED = """
import resource, sys
import torch, trivium
from trivium.run.predictor import trained
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 400 * 2**20,) * 2)
for folder in sys.argv[1:]:
    try:
        trivium.load(folder)
    except trivium.RecipeError as error:
        print("refused", folder)
"""


@pytest.mark.thorough
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_hostile_folders_take_no_memory_to_refuse(model: Path, tmp_path: Path) -> None:
    folders = []
    for number, name in enumerate(HOSTILE):
        place = tmp_path / str(number) / "model"
        shutil.copytree(model, place)
        HOSTILE[name][0](place)
        folders.append(str(place))
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *folders], capture_output=True, text=True, check=False,
        timeout=PATIENCE_S, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"refused {place}" for place in folders]


def test_a_link_to_another_file_of_the_folder_is_followed(folder: Path) -> None:
    (folder / "vocab.txt").rename(folder / "words.txt")
    (folder / "vocab.txt").symlink_to("words.txt")
    assert trivium.load(folder).predict("mood", "good")


def test_links_of_the_hubs_cache_are_followed_to_its_blobs_only(
    folder: Path, tmp_path: Path
) -> None:
    snapshot, blobs = tmp_path / "hub" / "snapshots" / "abc", tmp_path / "hub" / "blobs"
    blobs.mkdir(parents=True)
    shutil.copytree(folder, snapshot)
    for path in sorted(snapshot.iterdir()):
        path.rename(blobs / path.name)
        path.symlink_to(Path("../../blobs") / path.name)
    assert trivium.load(snapshot).predict("mood", "good")
    (blobs / "vocab.txt").rename(tmp_path / "vocab.txt")
    (snapshot / "vocab.txt").unlink()
    (snapshot / "vocab.txt").symlink_to(tmp_path / "vocab.txt")
    with pytest.raises(RecipeError, match="is a link that leads out of its folder"):
        trivium.load(snapshot)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({"model": "../../model.onnx"}, "calls '../../model.onnx' its model, which is no file of"),
        ({"model": ["x"]}, "calls ['x'] its model"),
        ({"model": "config.json", "forms": 7}, "cannot be read as an exported model"),
        ({"model": "config.json", "forms": {}, "limit": 1e999}, "cannot be read as an exported"),
        ({"model": "config.json", "forms": {}, "limit": 8, "outputs": [1]}, "cannot be read as an"),
    ],
)
def test_a_hostile_export_is_refused_in_one_line(
    folder: Path, values: dict[str, Any], wanted: str
) -> None:
    resealed(folder, lambda told: told.update(values))
    with pytest.raises(RecipeError) as caught:
        read_facts(folder)
    assert wanted in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("members", [7, [], [{"name": 1}], [{"name": "a", "folder": "/x"}] * 3])
def test_a_hostile_ensemble_is_refused_in_one_line(folder: Path, members: Any) -> None:
    home = folder.parent
    told = {"format": 1, "files": {}, "members": members, "tasks": {"mood": {"how": "mean"}}}
    (home / "ensemble.json").write_text(json.dumps(told))
    message = said(home)
    assert "\n" not in message


def test_a_checkpoint_of_strangers_takes_no_memory_for_what_it_claims(
    folder: Path, tmp_path: Path
) -> None:
    """A tensor of one number, seen as many, is no checkpoint."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    save_file({"a": torch.zeros(1)}, folder / "heads.safetensors")
    resealed(folder)
    assert "is missing" in said(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 2**18
