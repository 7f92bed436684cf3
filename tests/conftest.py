"""What every test starts from: no network, one thread, the packaged MiniLM, a tiny checkpoint."""

import atexit
import gc
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # huggingface_hub reads it when it is first imported

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import yaml
from hypothesis import settings

from tests.support.forks import Forks
from tests.support.tables import WORDS, make_recipe
from tests.support.thorough import left_out
from trivium.model.encoder import Encoder, EncoderConfig
from trivium.model.pretrained import find_checkpoint, save_encoder

# `import openvino` would send an event, from a thread that forks a process with all these threads.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
# What tests compute once is theirs: nothing of a user's, and nothing that outlives them.
os.environ["TRIVIUM_CACHE"] = tempfile.mkdtemp(prefix="trivium-tests-")
atexit.register(shutil.rmtree, os.environ["TRIVIUM_CACHE"], ignore_errors=True)
# A shell that runs the tests in the background has them, and all they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(1)  # tensors here are small, and other work may share the machine
# A busy machine is no failure, and what is landed does not hang on luck: examples are the same each
# time, unless a long run wants new ones.
settings.register_profile("steady", deadline=None, derandomize=not os.environ.get("FUZZ_CASES"))
settings.load_profile("steady")
# Workers, and all that tests start, find everything compiled, whatever the environment says.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of processes that tests start
gc.disable()  # while tests are collected: all that is made then stays

LONGEST_ID = 100
"""Characters of a value within a test's name."""


def pytest_make_parametrize_id(val: object) -> str | None:
    """Long values are cut: every worker sends the names of all tests, and each test's three times.

    pytest numbers what is the same by then.
    """
    return (
        ascii(val[:LONGEST_ID]) if isinstance(val, str | bytes) and len(val) > LONGEST_ID else None
    )


def pytest_addoption(parser: pytest.Parser) -> None:
    told = "of what is marked `thorough` try part n of m; all m parts together are all of it"
    parser.addoption("--part", default="1/1", metavar="n/m", help=told)


@pytest.hookimpl(tryfirst=True)  # before xdist notes the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What the tests of a file share is made once, so they run in one worker; what takes long
    begins first, so that no worker ends with it alone."""
    if left := left_out(items, config.getoption("--part")):
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in set(left)]
    if not hasattr(config, "workerinput"):
        return
    for item in items:
        if item.get_closest_marker("xdist_group") is None and _shares(item):
            item.add_marker(pytest.mark.xdist_group(item.location[0]))
    items.sort(key=lambda item: item.get_closest_marker("whole_run") is None)


def _shares(item: pytest.Item) -> bool:
    """Whether a test asks for something that its own file makes for several."""
    file = item.nodeid.partition("::")[0]
    asked: dict[str, Any] = getattr(item, "_fixtureinfo").name2fixturedefs  # noqa: B009 private
    made = (made for several in asked.values() for made in several)
    return any(one.baseid == file and one.scope in ("module", "session") for one in made)


def pytest_collection_finish() -> None:
    gc.freeze()  # nothing that was imported is looked through again
    gc.enable()


@pytest.fixture(autouse=True)
def one_thread_at_first() -> None:
    """A test that changes the number of threads changes no other's sums."""
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The folder of the packaged all-MiniLM-L6-v2."""
    return find_checkpoint("minilm")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in Hugging Face format: 2 layers, width 32, a vocabulary of a few words."""
    folder = tmp_path_factory.mktemp("tiny")
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *"abcdefghijklmnopqrstuvwxyz"]
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces))
    torch.manual_seed(0)
    config = EncoderConfig(
        vocab_size=len(pieces),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    encoder = Encoder(config)
    for name, parameter in encoder.named_parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
        elif "LayerNorm.weight" not in name:
            torch.nn.init.zeros_(parameter)
    save_encoder(encoder, folder)
    return folder


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """Starts `trivium` in processes of their own, without loading PyTorch for each."""
    found = Forks(tmp_path_factory.mktemp("forks"))
    yield found
    found.close()


@pytest.fixture
def recipe_values(tiny: Path, tmp_path: Path) -> dict[str, Any]:
    return make_recipe(tiny, tmp_path)


@pytest.fixture
def recipe_file(recipe_values: dict[str, Any], tmp_path: Path) -> Callable[..., Path]:
    """Write the recipe, with changes to its stages' settings, and name the file."""

    def write(**stage: Any) -> Path:
        path = tmp_path / "recipe.yaml"
        values = recipe_values | {"stages": [recipe_values["stages"][0] | stage]}
        path.write_text(yaml.safe_dump(values))
        return path

    return write
