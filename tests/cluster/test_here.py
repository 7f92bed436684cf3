"""Runs that are trained at the same time on this machine are the runs of one after another."""

import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

import trivium
from tests.support.processes import wait_until
from tests.support.rays import at_work_in, folder_of
from tests.support.shell import call, spoken
from tests.support.studies import finish_by_hand
from tests.support.tables import make_recipe
from tests.support.torment import content
from trivium.apps.study.crowd import CrowdBoard
from trivium.apps.study.runs import plan_study
from trivium.cli import app
from trivium.errors import RecipeError
from trivium.recipe import parse_recipe
from trivium.run.assembly.cores import cores
from trivium.run.cluster.asked import OnHere, asked_for, words_of
from trivium.run.cluster.here import HerePool
from trivium.run.cluster.pool import AnyFlight, pool_of
from trivium.run.jobs.child import Job, Outcome

STEPS = {"short": 2, "long": 240}


@pytest.fixture(scope="module")
def recipes(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One of two steps, and one that is long enough to be killed in the middle."""
    folder = tmp_path_factory.mktemp("here")
    values = make_recipe(tiny, folder)
    files = []
    for name, steps in STEPS.items():
        stage = {"steps": steps, "batch_size": 4, "lr": 1e-3, "checkpoint_every": 8}
        files.append(folder / f"{name}.yaml")
        files[-1].write_text(yaml.safe_dump(values | {"stages": [stage]}))
    return files


@pytest.fixture(scope="module")
def plain(recipes: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All that each run is, trained by itself: by the name of its folder in a study."""
    folder, found = tmp_path_factory.mktemp("plain"), {}
    for recipe in recipes:
        for seed in (0, 1):
            name = f"{recipe.stem}/seed-{seed}"
            trivium.train(recipe, folder / name, changes=[f"seed={seed}"])
            found[name] = content(folder / name)
    return found


# --- what is asked -------------------------------------------------------------------------------


def test_the_options_of_one_machine_are_said_again_in_the_command_to_go_on() -> None:
    assert asked_for("here", at_once=1) is None
    assert asked_for("here", cpus=2, at_once=1) == OnHere(1, cpus=2)
    asked = asked_for("here", cpus=2, at_once=4)
    assert asked == OnHere(4, cpus=2)
    assert words_of(asked) == ["--jobs", "4", "--cpus", "2"]
    assert words_of(OnHere(3)) == ["--jobs", "3"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["study", "a.yaml", "--out", "out", "--jobs", "0"], "--jobs 0: is below 1"),
        (["compare", "runs/a", "--jobs", "2"], "say what to train, by --against-singles"),
        (
            ["predict", "runs/a", "--all", "--file", "a.csv", "--jobs", "2"],
            "--jobs: here one table has all cores",
        ),
    ],
)
def test_what_cannot_be_done_here_is_said_in_one_message(words: list[str], said: str) -> None:
    code, told = call(*words)
    assert code == 2
    assert said in told


def test_no_runs_at_a_time_are_refused_in_python_too() -> None:
    with pytest.raises(RecipeError, match="at_once is below 1"):
        HerePool(OnHere(0))
    with pytest.raises(RecipeError, match="cpus is below 1"):
        HerePool(OnHere(2, cpus=0))


# --- children ------------------------------------------------------------------------------------


class Script(Job):
    """Another program in the place of a training."""

    __slots__ = ()
    CODE = ""

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-c", self.CODE]


class Threads(Script):
    CODE = (
        "import os; print('told', os.environ['OMP_NUM_THREADS'], os.environ['RAYON_NUM_THREADS'])"
    )


class Polite(Script):
    CODE = (
        "import signal, sys, time; "
        "signal.signal(signal.SIGINT, lambda *_: (print('saved', flush=True), sys.exit(1))); "
        "print('ready', flush=True); time.sleep(60)"
    )


def job(kind: type[Script], folder: Path, values: dict[str, Any]) -> Script:
    return kind(folder / "base.yaml", parse_recipe(values), folder / kind.__name__)


@pytest.mark.parametrize(
    ("told", "asked", "threads"),
    [
        (None, OnHere(1), cores()),
        (None, OnHere(2 * cores()), 1),
        ("1", OnHere(1), 1),
        (None, OnHere(2, cpus=3), 3),
    ],
)
def test_each_run_has_its_share_of_the_cores(
    recipe_values: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    told: str | None,
    asked: OnHere,
    threads: int,
) -> None:
    monkeypatch.delitem(sys.modules, "torch")  # whose threads would say it
    monkeypatch.delenv("OMP_NUM_THREADS")
    if told:
        monkeypatch.setenv("OMP_NUM_THREADS", told)
    run = job(Threads, tmp_path, recipe_values)
    with pool_of(asked, tmp_path, None) as pool:
        flight = pool.start(run)
        wait_until(lambda: flight.look() is not None)
    assert f"told {threads} {threads}" in run.log.read_text()


def test_what_is_in_flight_when_something_goes_wrong_here_is_saved_and_ended(
    recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    run = job(Polite, tmp_path, recipe_values)
    flights: list[AnyFlight] = []

    def begin_and_fail() -> None:
        with pool_of(OnHere(1), tmp_path, None) as pool:
            flights.append(pool.start(run))
            flights.append(pool.start(job(Threads, tmp_path, recipe_values)))
            wait_until(lambda: run.log.is_file() and "ready" in run.log.read_text())
            raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        begin_and_fail()
    assert "saved" in run.log.read_text()
    first, second = (flight.look() for flight in flights)
    assert first is not None
    assert first.state == "stopped"
    assert second == Outcome("stopped", "trained")  # it never began


# --- what is seen --------------------------------------------------------------------------------


def test_a_terminal_shows_all_runs_that_are_trained_and_when_the_study_ends(
    recipes: list[Path], tmp_path: Path
) -> None:
    plan = plan_study(recipes, tmp_path / "out", 2, [])
    scores = {"mood": 0.5, "same": 0.5, "near": 0.5}
    finish_by_hand(recipes[0], tmp_path / "out", 0, scores, {"seconds": 10.0})
    said = StringIO()
    with CrowdBoard(Console(file=said, force_terminal=True, width=100), plan, 2) as board:
        board.end(plan.runs[0], Outcome("done", "skipped"))
        for run in plan.runs[1:3]:
            board.begin(run)
            run.folder.mkdir(parents=True)
        (plan.runs[1].folder / "journal.jsonl").write_text(
            '{"event": "stage", "stage": "train", "steps": 12}\n'
            '{"event": "step", "stage": "train", "step": 3}\n'
        )
        board.look()
        # Two that just began and one that waits, all of which take 10 s, two at a time.
        left = board._remaining_s(time.monotonic())
        assert left == pytest.approx(15, abs=4)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said.getvalue())
    assert "2/4 long seed 0: stage train 3/12" in text
    assert re.search(r"3/4 short seed 1: sent off 0:00:0\d ago", text)
    assert "study ETA 0:00:1" in text


# --- whole studies -------------------------------------------------------------------------------

pytestmark = pytest.mark.xdist_group("here")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


def has_checkpoint(run: Path) -> bool:
    return any((run / "resume").glob("0*/state.json"))


class Trouble(threading.Thread):
    """Kills the first run's child in the midst of it; presses Ctrl-C when another one's is."""

    def __init__(self, out: Path, lost: Path, late: Path) -> None:
        super().__init__(daemon=True)
        self.out, self.lost, self.late, self.most = out, lost, late, 0

    def run(self) -> None:
        wait_until(self.kills)
        wait_until(lambda: has_checkpoint(self.late))
        os.kill(os.getpid(), signal.SIGINT)

    def kills(self) -> bool:
        children = at_work_in(self.out)
        # By their folders: a child that starts a program is two of the same for a moment.
        folders = {folder_of(child) for child in children} - {Path(os.devnull)}
        self.most = max(self.most, len(folders))
        if self.most < 2 or not has_checkpoint(self.lost):
            return False
        of_it = [child for child in children if folder_of(child) == self.lost]
        min(of_it, key=psutil.Process.create_time).kill()
        return True


@pytest.mark.thorough
@pytest.mark.whole_run
def test_a_study_with_a_child_killed_and_then_stopped_ends_as_one_after_another(
    recipes: list[Path], plain: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    lost, late = (out / "long" / f"seed-{seed}" for seed in (0, 1))
    command = ["study", *map(str, recipes), "--seeds", "2", "--out", str(out), "--jobs", "2"]
    trouble = Trouble(out, lost, late)
    trouble.start()
    result = CliRunner().invoke(app, command, env={"COLUMNS": "300"})
    trouble.join()
    said = " ".join(result.output.split())
    assert result.exit_code == 130, said
    assert trouble.most == 2
    assert "long seed 0: failed, killed by SIGKILL; out of memory?" in said
    assert re.search(r"stopping: (1 run saves|2 runs save); a second Ctrl-C ends (it|them)", said)
    assert re.search(
        r"stopped; [12] of 4 runs are done. Go on with: trivium study .* --jobs 2", said
    )
    assert at_work_in(out) == []
    rows = json.loads((out / "table.json").read_text())["recipes"]
    states = {row["name"]: [run["state"] for run in row["runs"]] for row in rows}
    assert states["long"] == ["failed", "unfinished"]
    assert states["short"][0] == "done"

    console, said_last = spoken()
    trivium.study(recipes, out, seeds=2, on=OnHere(2), console=console)
    assert said_last.getvalue().count("resumed, done") >= 2
    for run in (lost, late):
        assert run.with_name(f"{run.name}.log").read_text().count("resumed at stage train") == 1
    assert {name: content(out / name) for name in plain} == plain
    assert at_work_in(out) == []


@pytest.mark.whole_run
def test_a_search_of_several_trials_at_a_time_trains_the_same_trials(
    recipes: list[Path], tmp_path: Path
) -> None:
    values = yaml.safe_load(recipes[0].read_text())
    chosen = {"space": {"stages.0.lr": [1e-4, 1e-2]}, "sampler": "grid", "pruner": "none"}
    recipe = recipes[0].with_name("search.yaml")
    recipe.write_text(yaml.safe_dump(values | {"search": chosen}))
    found = trivium.tune(recipe, tmp_path / "out", on=OnHere(2), console=spoken()[0])
    assert [trial["state"] for trial in found["trials"]] == ["done", "done"]
    for trial in found["trials"]:
        (lr,) = trial["settings"].values()
        trivium.train(recipe, tmp_path / str(lr), changes=[f"stages.0.lr={lr}"])
        assert content(tmp_path / "out" / f"trials/{trial['number']:04d}") == content(
            tmp_path / str(lr)
        )
