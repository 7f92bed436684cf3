"""Killed at any moment, inside of a write or with the power, under any clock: the same run.

`make torture` kills many more times than the short part, which is always the same.
"""

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.mortal import End, Mortals, mortals
from tests.support.tables import make_recipe
from tests.support.torment import (
    Tally,
    Whole,
    content,
    how,
    tormented,
    trained,
    undisturbed,
    unlike,
)
from trivium.run.folder.names import RECIPE, REPLACED, RESUME
from trivium.run.folder.replaced import settle

pytestmark = [
    pytest.mark.torture,
    pytest.mark.thorough,
    pytest.mark.whole_run,
    pytest.mark.xdist_group("torture"),
]

KILLS = int(os.environ.get("TORTURE_KILLS", "0"))
"""Of a long run (`make torture`), over all tests; 0: a short part, always the same."""
SEED = int(os.environ.get("TORTURE_SEED", "0"))
SHORT = 3
MOST = 12
"""Kills of one training before it may end in peace."""


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mortals]:
    disk = mortals(tmp_path_factory.mktemp("library"), tmp_path_factory.mktemp("disk"))
    yield disk
    disk.close()


@pytest.fixture(scope="module")
def values(tiny: Path, disk: Mortals, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Three stages: gradients accumulated, one with a teacher, one with a guard; PALs in all."""
    folder = tmp_path_factory.mktemp("recipe")
    values = make_recipe(tiny, folder)
    plain = {"batch_size": 8, "lr": 1e-3, "evaluate_every": 3, "checkpoint_every": 2}
    teacher = {**values, "stages": [{"steps": 2, "batch_size": 8, "lr": 1e-3}]}
    (folder / "teacher.yaml").write_text(yaml.safe_dump(teacher))
    lived = disk.run(["train", folder / "teacher.yaml", "--out", folder / "teacher"])
    assert lived.codes == [0], lived.said
    distill = {"kind": "distill", "teachers": {"mood": str(folder / "teacher")}}
    return values | {
        "adapters": [{"kind": "pals", "size": 8}],
        "stages": [
            plain | {"name": "together", "steps": 6, "batches_per_step": 2},
            plain | {"name": "taught", "steps": 5, "regularizers": [distill]},
            plain | {"name": "alone", "steps": 6, "tasks": ["mood"], "guard": 0.5},
        ],
    }


def whole_run(disk: Mortals, values: dict[str, Any], home: Path, processes: int) -> Whole:
    (home / "recipe.yaml").write_text(yaml.safe_dump(values))
    shutil.rmtree(disk.home / "whole", ignore_errors=True)
    return undisturbed(disk, home / "recipe.yaml", disk.home / "whole", processes)


def torment(disk: Mortals, whole: Whole, seed: int, kills: int) -> list[Tally]:
    """Trainings, one after the other, until there were so many kills."""
    tallies: list[Tally] = []
    chance = random.Random(seed)
    while (left := kills - sum(tally.killed.total() for tally in tallies)) > 0:
        tallies.append(
            tormented(disk, whole, disk.home / f"run{whole.processes}", chance, min(left, MOST))
        )
        print(f"seed {seed}, {whole.processes} process(es): {tallies[-1]}", flush=True)
    return tallies


def test_a_training_killed_at_any_moment_ends_as_the_one_that_was_not(
    disk: Mortals, values: dict[str, Any], tmp_path: Path
) -> None:
    whole = whole_run(disk, values, tmp_path, 1)
    torment(disk, whole, seed=SEED, kills=round(0.4 * KILLS) or SHORT)


def test_so_does_one_killed_at_its_very_end(
    disk: Mortals, values: dict[str, Any], tmp_path: Path
) -> None:
    """After the last step: the model is kept and judged, its answers, scores and card written."""
    whole = whole_run(disk, values, tmp_path, 1)
    run, near = disk.home / "run", tmp_path / "near"
    assert trained(disk, whole, run, End(nth=whole.calls - 60)).codes == [-9]
    shutil.copytree(run, near)
    calls = trained(disk, whole, run).calls
    chance = random.Random(SEED + 2)
    places = range(calls) if KILLS else [calls - 4, *chance.sample(range(calls), SHORT - 1)]
    for nth in chance.sample(places, min(len(places), round(0.25 * KILLS) or SHORT)):
        shutil.rmtree(run)
        shutil.copytree(near, run)
        end = End(nth=nth, power=chance.random() < 0.7)
        assert trained(disk, whole, run, end).codes == [-9]
        assert trained(disk, whole, run).codes == [0]
        assert unlike(run, whole) == [], end
        print(f"killed {how(end)} at call {nth} of {calls} since the last checkpoint", flush=True)


def test_a_run_that_is_to_be_replaced_is_there_until_the_new_one_could_be_gone_on_with(
    disk: Mortals, values: dict[str, Any], tmp_path: Path
) -> None:
    whole, run, old = whole_run(disk, values, tmp_path, 1), disk.home / "run", tmp_path / "old"
    command = ["train", str(whole.recipe), "--out", str(run)]
    shutil.rmtree(run, ignore_errors=True)
    assert disk.run([*command, "--set", "seed=1"]).codes == [0]
    run.rename(old)
    before, chance = content(old), random.Random(SEED + 3)
    for _ in range(round(0.2 * KILLS) or SHORT):
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(old, run)
        # It is set aside in the first 30 calls or so, and let go in the first 100.
        end = End(nth=int(chance.random() ** 2 * 120), power=chance.random() < 0.5)
        assert disk.run([*command, "--overwrite"], end).codes == [-9]
        settle(run)  # as the next training begins
        homes = {True: run / REPLACED, False: run}
        is_new = (run / RECIPE).read_bytes() != (old / RECIPE).read_bytes()
        has_kept = any((run / RESUME).glob("[0-9]*"))
        assert has_kept or content(homes[is_new]) == before, end
        assert disk.run([*command, "--resume" if is_new else "--overwrite"]).codes == [0]
        assert unlike(run, whole) == [], end
        print(f"replacing killed at call {end.nth}: new {is_new}, kept {has_kept}", flush=True)


@pytest.mark.skipif(not KILLS, reason="`make torture` does")
def test_so_does_one_in_two_processes(
    disk: Mortals, values: dict[str, Any], tmp_path: Path
) -> None:
    whole = whole_run(disk, values, tmp_path, 2)
    torment(disk, whole, seed=SEED + 1, kills=max(1, round(0.15 * KILLS)))
