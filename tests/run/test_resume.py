"""Stopped and resumed training is the uninterrupted one, bit for bit."""

import json
import random
import signal
import time
from pathlib import Path

import pytest
import yaml

from tests.support.facts import facts
from tests.support.forks import Fork, Forks
from tests.support.processes import newest, wait_until
from tests.support.tables import make_recipe
from trivium.errors import RecipeError
from trivium.recipe import load_recipe
from trivium.run.train import train

pytestmark = [pytest.mark.whole_run, pytest.mark.xdist_group("resume")]

STAGES = {"steps": 160, "evaluate_every": 25, "checkpoint_every": 4, "sampler": "proportional"}


def start(forks: Forks, recipe: Path, run_dir: Path, *options: str) -> Fork:
    return forks.start("train", recipe, "--out", run_dir, *options)


def finish(forks: Forks, recipe: Path, run_dir: Path, *options: str) -> str:
    return forks.finish("train", recipe, "--out", run_dir, *options)


def wait_for_step(process: Fork, run_dir: Path, generation: int) -> None:
    """Until so many checkpoints were written."""
    wait_until(lambda: newest(run_dir / "resume") >= generation, process)


@pytest.fixture(scope="module")
def home(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe in it."""
    folder = tmp_path_factory.mktemp("resume")
    values = make_recipe(tiny, folder)
    values |= {"stages": [values["stages"][0] | STAGES], "train_rows": 20}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(values))
    return folder


@pytest.fixture(scope="module")
def uninterrupted(forks: Forks, home: Path) -> tuple[Path, Path]:
    """The recipe, and its run without a break."""
    finish(forks, home / "recipe.yaml", home / "whole")
    return home / "recipe.yaml", home / "whole"


def test_a_killed_run_resumes_bit_for_bit(
    uninterrupted: tuple[Path, Path], forks: Forks, tmp_path: Path
) -> None:
    recipe, whole = uninterrupted
    broken = tmp_path / "broken"
    chance = random.Random()
    for attempt in range(2):  # killed twice, each time at a step nobody chose
        options = ["--resume"] if attempt else []
        process = start(forks, recipe, broken, *options)
        wait_for_step(process, broken, generation=2 + 16 * attempt + chance.randrange(12))
        time.sleep(chance.random() * 0.1)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not (broken / "scores.json").exists(), "it was killed too late to show anything"
    errors = finish(forks, recipe, broken, "--resume")
    assert "resumed at stage train, step" in errors
    assert "began with" not in errors
    assert facts(broken) == facts(whole)


@pytest.mark.thorough
def test_a_run_that_goes_on_with_other_threads_says_that_digits_may_differ(
    forks: Forks, uninterrupted: tuple[Path, Path], tmp_path: Path
) -> None:
    recipe, _ = uninterrupted
    run_dir = tmp_path / "run"
    process = start(forks, recipe, run_dir)
    wait_for_step(process, run_dir, generation=30)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    path = run_dir / "environment.json"
    made = json.loads(path.read_text())
    path.write_text(json.dumps(made | {"threads": 64, "gpu": None}))
    errors = " ".join(finish(forks, recipe, run_dir, "--resume").split())
    assert f"began with threads 64 (now {made['threads']}). The last digits may be" in errors


def test_ctrl_c_saves_leaves_130_and_resumes_bit_for_bit(
    uninterrupted: tuple[Path, Path], forks: Forks, tmp_path: Path
) -> None:
    recipe, whole = uninterrupted
    broken = tmp_path / "broken"
    process = start(forks, recipe, broken)
    wait_for_step(process, broken, generation=3)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130, errors
    assert "--resume" in errors
    assert "Traceback" not in errors
    finish(forks, recipe, broken, "--resume")
    assert facts(broken) == facts(whole)


@pytest.mark.thorough
def test_a_damaged_last_checkpoint_falls_back_to_the_one_before(
    uninterrupted: tuple[Path, Path], forks: Forks, tmp_path: Path
) -> None:
    recipe, whole = uninterrupted
    broken = tmp_path / "broken"
    process = start(forks, recipe, broken)
    wait_for_step(process, broken, generation=5)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    newest = max((broken / "resume").glob("0*"))
    state = newest / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-100])
    finish(forks, recipe, broken, "--resume")
    assert facts(broken) == facts(whole)


def test_resuming_refuses_another_recipe_and_other_data(
    tiny: Path, forks: Forks, tmp_path: Path
) -> None:
    values = make_recipe(tiny, tmp_path)
    values |= {"stages": [values["stages"][0] | STAGES], "train_rows": 20}
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(values))
    broken = tmp_path / "broken"
    process = start(forks, recipe, broken)
    wait_for_step(process, broken, generation=2)
    process.send_signal(signal.SIGINT)
    process.communicate()

    with pytest.raises(RecipeError, match="seed was 0 and is now 7"):
        train(load_recipe(recipe, ["seed=7"]), broken, resume=True)

    path = tmp_path / "data" / "mood-train.tsv"
    path.write_text(path.read_text().replace("good", "awful", 1))
    with pytest.raises(RecipeError, match="the data files changed"):
        train(recipe, broken, resume=True)


def test_a_finished_run_has_nothing_to_resume(
    uninterrupted: tuple[Path, Path], forks: Forks
) -> None:
    recipe, whole = uninterrupted
    before = facts(whole)
    assert "finished" in finish(forks, recipe, whole, "--resume")
    assert facts(whole) == before
    assert not (whole / "resume").exists()
