"""What is asked of a cluster, and what is said where it cannot be."""

import builtins
import os
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml

from tests.support.shell import call
from trivium.errors import RecipeError
from trivium.recipe import load_recipe
from trivium.run.assembly.cores import cores
from trivium.run.check import check
from trivium.run.cluster.asked import OnRay, asked_for, bytes_of, words_of
from trivium.run.cluster.needs import LEAST, Needs, gpus_of, memory_of
from trivium.run.cluster.numbers import numbers_as_here, set_numbers, threads_here
from trivium.run.cluster.opened import load_ray, opened


@pytest.fixture
def recipe(recipe_values: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "base.yaml"
    path.write_text(yaml.safe_dump(recipe_values))
    return path


def test_options_say_what_they_say_again_in_the_command_to_go_on() -> None:
    assert asked_for("here") is None
    asked = asked_for("ray", "10.0.0.1:6379", 4, "1.5GB", 0.5, 3, "s3://bucket/x")
    assert asked == OnRay("10.0.0.1:6379", 4, 1_500_000_000, 0.5, 3, "s3://bucket/x")
    words = words_of(asked)
    given = dict(zip(words[::2], words[1::2], strict=True))
    assert bytes_of(given["--memory"]) == 1_500_000_000
    assert words == [
        "--on", "ray", "--address", "10.0.0.1:6379", "--cpus", "4", "--memory", "1500MB",
        "--gpus", "0.5", "--jobs", "3", "--store", "s3://bucket/x",
    ]  # fmt: skip
    assert words_of(None) == []


@pytest.mark.parametrize("size", [1, 999, 10**6, 12_345_678_901, 10**12, 2**40 + 1, 10**15])
def test_a_size_is_said_again_to_the_byte(size: int) -> None:
    given = words_of(OnRay(memory=size))
    assert bytes_of(given[given.index("--memory") + 1]) == size


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--on", "slurm"], "is neither here (this machine) nor ray"),
        (["--memory", "2GB"], "--memory: is asked of a cluster; say which with --on ray"),
        (["--cpus", "2"], "say how many with --jobs, or on which cluster with --on ray"),
        (["--on", "ray", "--cpus", "0"], "--cpus 0: is below 1"),
        (["--on", "ray", "--memory", "much"], "--memory much: is no size such as 8GB"),
        (["--on", "ray", "--address", "nowhere"], "it is not of the form HOST:PORT"),
        (["--on", "ray", "--address", "127.0.0.1:9"], "no Ray cluster answers there"),
    ],
)
def test_what_cannot_be_asked_is_said_in_one_message(
    words: list[str], said: str, recipe: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    code, told = call("study", recipe, "--out", out, *words)
    assert code == 2
    assert said in told
    assert "Traceback" not in told
    assert not out.exists()


def test_what_answers_but_is_no_ray_is_told_from_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trivium.run.cluster.opened.ANSWER_S", 0.2)
    said = "does not answer as Ray does"
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(RecipeError, match=said), opened(OnRay(address)):
            pass


def test_a_ray_that_does_not_come_up_here_is_told_in_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def too_late(**_: object) -> None:
        raise Exception("The current node timed out during startup.")

    ray = SimpleNamespace(is_initialized=lambda: False, init=too_late)
    monkeypatch.setattr("trivium.run.cluster.opened.load_ray", lambda: ray)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    said = r"Ray does not come up on this machine: .*timed out during startup\. It waits"
    with pytest.raises(RecipeError, match=said), opened(OnRay()):
        pass


def test_without_ray_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **named: Any) -> Any:
        if name == "ray":
            raise ModuleNotFoundError("No module named 'ray'", name="ray")
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(RecipeError, match=r"pip install 'trivium\[ray\]'"):
        load_ray()


def test_a_run_asks_for_the_memory_that_its_preview_tells_of(recipe: Path) -> None:
    preview = check(recipe)
    told = max(preview.memory(stage).total() for stage in preview.recipe.stages)
    found = memory_of(load_recipe(recipe))
    assert abs(found - told) < 0.2 * told  # what this process holds already differs
    missing = load_recipe(recipe, ["tasks.mood.train=nowhere.tsv"])
    assert memory_of(missing) == LEAST  # the run will say what is wrong


def test_a_run_has_the_threads_that_it_would_have_without_ray(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.set_num_threads(2)
    assert threads_here() == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("TRIVIUM_NATIVE", "0")
    numbers = numbers_as_here(2)
    assert numbers["OMP_NUM_THREADS"] == numbers["RAYON_NUM_THREADS"] == "2"
    assert numbers["TRIVIUM_NATIVE"] == "0"
    assert "PATH" not in numbers
    monkeypatch.setenv("MKL_NUM_THREADS", "3")
    monkeypatch.setenv("RAYON_NUM_THREADS", "3")
    set_numbers(numbers)
    assert "MKL_NUM_THREADS" not in os.environ
    assert os.environ["RAYON_NUM_THREADS"] == "2"
    monkeypatch.delitem(sys.modules, "torch")
    assert threads_here() == 2
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert threads_here() == cores()


def test_a_gpu_is_asked_for_where_a_run_may_use_one(recipe: Path) -> None:
    on_cpu = load_recipe(recipe)
    anywhere = load_recipe(recipe, ["device=auto"])
    assert gpus_of(on_cpu, OnRay(gpus=1.0), has_gpus=True) == 0
    assert gpus_of(anywhere, OnRay(), has_gpus=True) == 1
    assert gpus_of(anywhere, OnRay(), has_gpus=False) == 0
    assert gpus_of(anywhere, OnRay(gpus=0.5), has_gpus=True) == 0.5
    assert gpus_of(load_recipe(recipe, ["device=cuda"]), OnRay(), has_gpus=False) == 1
    with pytest.raises(RecipeError, match="which GPU a run has is for Ray to say"):
        gpus_of(load_recipe(recipe, ["device=cuda:1"]), OnRay(), has_gpus=True)


def test_a_machine_holds_a_run_or_it_does_not() -> None:
    needs = Needs(cpus=2, memory=100, gpus=1.0)
    machine = {"CPU": 2.0, "memory": 100.0, "GPU": 1.0}
    assert needs.fits(machine)
    for short in ({"CPU": 1.0}, {"memory": 99.0}, {"GPU": 0.0}):
        assert not needs.fits(machine | short)


def test_a_comparison_of_runs_that_are_there_asks_nothing_of_a_cluster(tmp_path: Path) -> None:
    code, said = call("compare", tmp_path, "--on", "ray")
    assert code == 2
    assert "say what to train, by --against-singles" in said
