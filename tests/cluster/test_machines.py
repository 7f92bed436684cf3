"""Machines of a cluster are killed in the middle of what they do: the results are the same bytes.

`make cluster` runs these; they take minutes, and a GB of memory.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

import trivium
from tests.support.processes import wait_until
from tests.support.rays import Machines, at_work_in, folder_of, machines
from tests.support.shell import spoken
from tests.support.tables import make_recipe, sentence, write_table
from tests.support.torment import content
from trivium.run.cluster.asked import OnRay

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.whole_run,
    pytest.mark.xdist_group("ray"),
    pytest.mark.skipif("TRIVIUM_CLUSTER" not in os.environ, reason="minutes; `make cluster`"),
]

SEEDS = 2
VARIANTS: dict[str, dict[str, Any]] = {
    "base": {},
    "joint": {"sampler": "joint"},
    "surgery": {"sampler": "joint", "combiner": "pcgrad"},
    "slow": {"lr": 1e-4},
    "small": {"batch_size": 4},
    "frozen": {"trains": "frozen"},
}


@pytest.fixture(scope="module")
def recipes(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("recipes")
    values = make_recipe(tiny, folder)
    stage = {"steps": 200, "batch_size": 8, "lr": 1e-3, "checkpoint_every": 20}
    files = []
    for name, change in VARIANTS.items():
        files.append(folder / f"{name}.yaml")
        files[-1].write_text(yaml.safe_dump(values | {"stages": [stage | change]}))
    return files


@pytest.fixture
def cluster() -> Iterator[Machines]:
    with machines(2) as found:
        yield found


def killed_when(
    cluster: Machines, is_due: Callable[[Path], bool], *, and_children: bool
) -> tuple[threading.Thread, list[Path]]:
    """Kills the first machine that trains a run of which that is so; which run it was."""
    found: list[Path] = []

    def due() -> bool:
        for node in list(cluster.nodes):
            for one in cluster.trainings(node):
                if is_due(folder := folder_of(one)):
                    cluster.kill(node, and_children=and_children)
                    found.append(folder)
                    return True
        return False

    thread = threading.Thread(target=wait_until, args=(due,), daemon=True)
    thread.start()
    return thread, found


def has_checkpoint(run: Path) -> bool:
    return any((run / "resume").glob("0*/state.json"))


def resumptions(run: Path) -> list[bool]:
    """Of each start of a run's child process, whether it went on."""
    log = run.with_name(f"{run.name}.log").read_text()
    return ["--resume" in line for line in log.splitlines() if line.startswith("$ ")]


def test_a_study_that_loses_a_machine_is_the_study_without_ray(
    recipes: list[Path], cluster: Machines, tmp_path: Path
) -> None:
    console, _ = spoken()
    thread, lost = killed_when(cluster, has_checkpoint, and_children=True)
    on = OnRay(address=cluster.address, cpus=1)
    trivium.study(recipes, tmp_path / "out", seeds=SEEDS, on=on, console=console)
    thread.join()
    (run,) = lost
    assert resumptions(run) == [False, True]
    assert at_work_in(tmp_path / "out") == []
    for recipe in recipes:
        for seed in range(SEEDS):
            plain = tmp_path / "plain" / recipe.stem / str(seed)
            trivium.train(recipe, plain, changes=[f"seed={seed}"])
            assert content(tmp_path / "out" / recipe.stem / f"seed-{seed}") == content(plain)


def test_a_search_that_loses_a_machine_is_the_search_without_ray(
    recipes: list[Path], cluster: Machines, tmp_path: Path
) -> None:
    """Here what was trained on the machine is not killed with it: it is to find out, and save."""
    values = yaml.safe_load(recipes[0].read_text())
    space = {"stages.0.lr": {"low": 1e-4, "high": 1e-2, "log": True}, "stages.0.batch_size": [4, 8]}
    chosen = {"space": space, "trials": 4, "sampler": "random", "pruner": "none"}
    recipe = tmp_path / "search.yaml"
    recipe.write_text(yaml.safe_dump(values | {"search": chosen}))
    thread, lost = killed_when(cluster, has_checkpoint, and_children=False)
    on = OnRay(address=cluster.address, cpus=1)
    found = trivium.tune(recipe, tmp_path / "out", on=on, console=spoken()[0])
    thread.join()
    assert resumptions(lost[0])[:2] == [False, True]
    assert at_work_in(tmp_path / "out") == []
    plain = trivium.tune(recipe, tmp_path / "plain", console=spoken()[0])
    assert found["best"] == plain["best"]
    for one, other in zip(found["trials"], plain["trials"], strict=True):
        assert {**one, "costs": 0} == {**other, "costs": 0}
        name = f"trials/{one['number']:04d}"
        assert content(tmp_path / "out" / name) == content(tmp_path / "plain" / name)


def test_machines_without_a_common_folder_hand_runs_over(
    recipes: list[Path], cluster: Machines, tmp_path: Path
) -> None:
    store = tmp_path / "store"

    def is_handed_over(_scratch: Path) -> bool:
        return any(store.glob("*/seed-0/latest.json"))

    thread, _ = killed_when(cluster, is_handed_over, and_children=True)
    on = OnRay(address=cluster.address, cpus=1, store=f"file://{store}")
    trivium.study(recipes[:1], tmp_path / "out", seeds=1, on=on, console=spoken()[0])
    thread.join()
    run = tmp_path / "out" / recipes[0].stem / "seed-0"
    assert resumptions(run) == [True]  # what the machine said that is gone, went with it
    trivium.train(recipes[0], tmp_path / "plain", changes=["seed=0"])
    assert content(run) == content(tmp_path / "plain")


def test_tables_whose_worker_is_killed_have_the_answers_of_one_process(
    recipes: list[Path], cluster: Machines, tmp_path: Path
) -> None:
    run, tables, out = tmp_path / "run", tmp_path / "in", tmp_path / "out"
    trivium.train(recipes[0], run, changes=["stages.0.steps=2"])
    tables.mkdir()
    for number in range(20):
        rows: list[list[object]] = [[i, sentence(97 * number + i)] for i in range(2000)]
        write_table(tables / f"{number:02d}.tsv", ["id", "text"], rows)
    killed: list[int] = []

    def due() -> bool:
        if len(list(out.glob("*.tsv"))) < 3:
            return False
        (one, *_) = [p for p in psutil.process_iter() if p.name().startswith("ray::Answerer.a")]
        one.kill()
        killed.append(one.pid)
        return True

    thread = threading.Thread(target=wait_until, args=(due,), daemon=True)
    thread.start()
    on = OnRay(address=cluster.address, cpus=1)
    found = trivium.predict_files(run, "mood", tables, out, on=on, console=spoken()[0])
    thread.join()
    assert killed
    assert found == {"files": 20, "rows": 40_000, "skipped": 0}
    trivium.predict_files(run, "mood", tables, tmp_path / "plain")
    assert bytes_of(out) == bytes_of(tmp_path / "plain")
    again = trivium.predict_files(run, "mood", tables, out, on=on)
    assert again == {"files": 0, "rows": 0, "skipped": 20}


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.tsv")}


def begun(words: list[str]) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "trivium", *words, "--on", "ray", "--cpus", "1"]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def test_a_study_that_is_stopped_and_then_killed_goes_on_and_leaves_nothing_at_work(
    recipes: list[Path], tmp_path: Path
) -> None:
    """On a cluster of this machine alone, which ends with the command, however that ends."""
    out = tmp_path / "out"
    longer = "stages.0.steps=3000"  # so that it is not done before it is killed
    words = ["study", str(recipes[0]), "--seeds", "1", "--out", str(out), "--set", longer]
    run = out / recipes[0].stem / "seed-0"

    first = begun(words)
    wait_until(lambda: has_checkpoint(run), first)
    first.send_signal(signal.SIGINT)
    _, said = first.communicate()
    assert first.returncode == 130, said
    assert "stopping: 1 run saves" in said
    assert "Go on with: trivium study" in said
    assert "--on ray --cpus 1" in said
    assert "saved" in run.with_name("seed-0.log").read_text()
    assert at_work_in(out) == []
    assert not (run / "scores.json").exists()

    second = begun(words)
    wait_until(lambda: at_work_in(out), second)
    second.kill()
    second.communicate()
    wait_until(lambda: not at_work_in(out))
    assert has_checkpoint(run)

    third = begun(words)
    _, said = third.communicate()
    assert third.returncode == 0, said
    assert resumptions(run)[0] is False
    assert all(resumptions(run)[1:])
    trivium.train(recipes[0], tmp_path / "plain", changes=["seed=0", longer])
    assert content(run) == content(tmp_path / "plain")
