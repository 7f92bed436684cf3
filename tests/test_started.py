"""What a process that starts does not load: whoever waits for it would wait for that, too."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.exports import LABELS, SCORE, TEXT, untrained
from tests.support.processes import HEAVY
from tests.support.tables import make_recipe
from trivium.model.native.library import library

STRANGERS = {
    *HEAVY, "datasets", "fastapi", "httpx", "jinja2", "narwhals", "openpyxl", "psutil", "ray",
    "typer",
} - {"numpy", "pydantic", "tokenizers", "torch"}  # fmt: skip
"""Whatever may be installed, but for what a model needs to answer."""
OF_TORCH = {"_dynamo", "_functorch", "_inductor", "distributed", "export", "onnx", "testing"}
"""Parts of PyTorch that take long to load, and that some versions of it load by themselves."""

LIVED = """
import json, sys
import torch
loaded = [*sys.modules]
from rich.console import Console
import trivium
folder, recipe, run = sys.argv[1:]
trivium.load(folder).predict("mood", ["fine"])
answered = [*sys.modules]
trivium.train(json.loads(recipe), run, console=Console(quiet=True))
print(json.dumps([loaded, answered, [*sys.modules]]))
"""

WATCHED = """
import atexit, gc, sys
DONE = {"predict": "predict_file", "check": "check"}  # what is there once a verb is loaded
verb, *words = sys.argv[1:]
during = []
def see(phase, info):
    home = sys.modules.get(f"trivium.run.{verb}")
    during.append(home is not None and not hasattr(home, DONE[verb]))
atexit.register(lambda: print(sum(during), gc.get_freeze_count() > 10_000))
gc.callbacks.append(see)
from trivium.cli import main
sys.argv = ["trivium", verb, *words]
main()
"""


@pytest.fixture(scope="module")
def lived(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> list[set[str]]:
    """All that a process has loaded: after PyTorch, after an answer, and after a training."""
    home = tmp_path_factory.mktemp("started")
    near = SCORE | TEXT | {"head": "mlp"}
    words = {"kind": "mlm", "of": ["mood"]}
    tasks = {"mood": LABELS | TEXT, "near": near, "words": words}
    model = untrained(home / "run", tiny, tasks)
    recipe = make_recipe(tiny, home)
    recipe["tasks"]["mood"]["head"] = "mlp"
    recipe["tasks"]["words"] = words
    recipe["stages"] = [{"steps": 2, "batch_size": 4}]
    done = subprocess.run(
        [sys.executable, "-c", LIVED, str(model), json.dumps(recipe), str(home / "trained")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [set(names) for names in json.loads(done.stdout.splitlines()[-1])]


@pytest.mark.thorough
def test_an_answer_loads_nothing_that_happens_to_be_installed(lived: list[set[str]]) -> None:
    loaded, answered, _ = lived
    assert STRANGERS & (answered - loaded) == set()


def test_an_answer_loads_no_more_of_pytorch(lived: list[set[str]]) -> None:
    loaded, answered, _ = lived
    assert OF_TORCH & {name.split(".")[1] for name in _of("torch.", answered - loaded)} == set()


def test_an_answer_knows_nothing_of_recipes_and_training(lived: list[set[str]]) -> None:
    ours = _of("trivium.", lived[1])
    assert {name.split(".")[1] for name in ours} >= {"parts", "run"}
    assert {name for name in ours if name.startswith("trivium.recipe")} == set()
    parts = {name.split(".")[2] for name in _of("trivium.parts.", ours)}
    assert {"tasks", "heads"} <= parts
    assert parts & {"averaging", "combiners", "optim", "regularizers", "samplers"} == set()
    rooms = {name.split(".")[2] for name in _of("trivium.run.", ours)}
    assert rooms == {"assembly", "folder", "hub", "predictor"}


@pytest.mark.skipif(library() is None, reason="PyTorch's own AdamW loads the compiler at each step")
def test_a_training_loads_no_compiler(lived: list[set[str]]) -> None:
    """Which takes as long as PyTorch; every optimizer of PyTorch's does when it is made."""
    loaded, _, trained = lived
    assert "trivium.run.training.loop" in trained
    assert {"torch._dynamo", "torch._inductor", "sympy"} & (trained - loaded) == set()


@pytest.mark.thorough
@pytest.mark.parametrize(
    "words",
    [["predict", "nowhere", "--task", "mood", "--file", "rows.csv"], ["check", "nowhere.yaml"]],
)
def test_a_command_looks_for_garbage_neither_while_it_loads_nor_when_it_ends(
    words: list[str],
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == "0 True\n"


def _of(start: str, names: set[str]) -> set[str]:
    return {name for name in names if name.startswith(start)}
