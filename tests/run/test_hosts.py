"""torchrun starts processes again after one has died, and the run goes on by itself; only the first
process needs to see the run's folder."""

import os
import shutil
import signal
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
import torch
import yaml

from tests.support.distributed import (
    recipe_of,
    start_together,
    together,
    torchrun,
    train,
    weights,
)
from tests.support.facts import facts
from tests.support.forks import Forks
from tests.support.processes import PATIENCE_S, wait_until
from tests.support.tables import make_recipe
from trivium.run.folder.journal import read_journal
from trivium.run.folder.names import RESUME, SCORES

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.whole_run,
    pytest.mark.xdist_group("processes"),
]

STAGE: dict[str, Any] = {
    "dropout": 0.2, "steps": 40, "checkpoint_every": 4, "batch_size": 9, "evaluate_every": 20,
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(tiny: Path, forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A recipe, and its run in two processes that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    recipe = recipe_of(make_recipe(tiny, folder), folder, **STAGE)
    train(forks, recipe, folder / "run")
    return recipe, folder / "run"


def workers_of(agent: "Popen[str]") -> list[int]:
    """Processes that torchrun started, by rank."""
    children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
    found = {}
    for child in map(int, children):
        told = Path(f"/proc/{child}/environ").read_bytes().decode().split("\0")
        rank = [word.removeprefix("RANK=") for word in told if word.startswith("RANK=")]
        if rank:
            found[int(rank[0])] = child
    return [found[rank] for rank in sorted(found)]


def same_bits(run: Path, other: Path) -> bool:
    ours, theirs = weights(run), weights(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)


def stopped(forks: Forks, recipe: Path, run: Path, *more: str, launch: str = "") -> None:
    """A run of two processes that are killed after the first checkpoint."""
    children = start_together(forks, 2, "train", recipe, "--out", run, *more, launch=launch)
    wait_until(lambda: list((run / RESUME).glob("0*")), children[0])
    for child in children:
        child.kill()
        child.wait()


@pytest.mark.parametrize("rank", [0])
def test_a_run_whose_process_was_killed_goes_on_by_itself_and_ends_as_one_that_was_not(
    whole: tuple[Path, Path], tmp_path: Path, rank: int
) -> None:
    recipe, undisturbed = whole
    run = tmp_path / "run"
    agent = torchrun(2, "train", recipe, "--out", run, restarts=1)
    wait_until(lambda: list((run / RESUME).glob("0*")), agent)
    os.kill(workers_of(agent)[rank], signal.SIGKILL)
    _, said = agent.communicate(timeout=PATIENCE_S)
    assert agent.returncode == 0, said
    assert "resumed at stage" in said
    assert "Traceback" not in said.replace("Traceback : Signal 9", "")
    assert same_bits(run, undisturbed)
    assert facts(run)["scores"] == facts(undisturbed)["scores"]


def test_a_launch_that_is_to_replace_a_run_does_not_replace_its_own(
    whole: tuple[Path, Path], forks: Forks, tmp_path: Path
) -> None:
    """torchrun repeats the command as it was, `--overwrite` and all."""
    recipe, undisturbed = whole
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    stopped(forks, recipe, run, "--overwrite", launch="first")
    words = ("train", recipe, "--out", run)
    code, said = together(forks, 2, *words, launch="second")
    assert code != 0
    assert f"{run}: already holds a run." in said
    code, said = together(forks, 2, *words, "--overwrite", launch="first")
    assert code == 0, said
    assert "resumed at stage train, step " in said
    assert same_bits(run, undisturbed)


def test_auto_resume_begins_where_nothing_is_and_goes_on_with_any_number_of_processes(
    whole: tuple[Path, Path], forks: Forks, tmp_path: Path
) -> None:
    recipe, undisturbed = whole
    run = tmp_path / "run"
    stopped(forks, recipe, run, "--auto-resume")
    code, said = together(forks, 3, "train", recipe, "--out", run, "--auto-resume")
    assert code == 0, said
    assert "the run had 2 processes and goes on with 3: with the same rows and decisions" in said
    steps = [[e for e in read_journal(r) if e["event"] == "step"] for r in (run, undisturbed)]
    for ours, theirs in zip(*steps, strict=True):
        assert ours["rows"] == theirs["rows"]
        assert ours["losses"].keys() == theirs["losses"].keys()
    assert not same_bits(run, undisturbed)
    code, said = together(
        forks, 1, "train", recipe, "--out", run, "--auto-resume", "--overwrite"
    )  # fmt: skip
    assert code != 0
    assert "give one of the two" in said


def test_hosts_need_not_see_the_folder_of_the_run(
    whole: tuple[Path, Path], forks: Forks, tmp_path: Path
) -> None:
    """Not to train, with two stages and a teacher, and not to go on."""
    recipe, teacher = whole
    values = yaml.safe_load(recipe.read_text())
    (stage,) = values["stages"]
    distill = [{"kind": "distill", "teachers": {"mood": str(teacher)}}]
    more = [stage | {"name": "a", "steps": 4}, stage | {"name": "b", "regularizers": distill}]
    both = recipe.with_name("two-stages.yaml")
    both.write_text(yaml.safe_dump(values | {"stages": more}))
    homes = [tmp_path / name for name in ("first", "second")]
    for home in homes:
        home.mkdir()
    words = ("train", both, "--out", "run")
    children = start_together(forks, 2, *words, folders=homes)
    run = homes[0] / "run"
    wait_until(lambda: list((run / RESUME).glob("00000[2-9]")), children[0])
    for child in children:
        child.kill()
        child.wait()
    code, said = together(forks, 2, *words, "--resume", folders=homes)
    assert code == 0, said
    assert "resumed at stage b" in said
    assert list(homes[1].iterdir()) == []
    code, said = together(forks, 2, "train", both, "--out", tmp_path / "undisturbed")
    assert code == 0, said
    assert same_bits(run, tmp_path / "undisturbed")
    assert (run / SCORES).is_file()


def test_hosts_with_other_tables_are_refused(
    whole: tuple[Path, Path], forks: Forks, tmp_path: Path
) -> None:
    recipe, _ = whole
    values = yaml.safe_load(recipe.read_text())
    homes = [tmp_path / name for name in ("first", "second")]
    for home in homes:
        shutil.copytree(values["data"], home / "data")
        (home / "recipe.yaml").write_text(yaml.safe_dump(values | {"data": "data"}))
    words = ("train", "recipe.yaml", "--out", "run")
    for file, wrong in (("data/mood-train.tsv", "tables"), ("recipe.yaml", "recipe")):
        path = homes[1] / file
        before = path.read_text()
        path.write_text(before.replace("\tup", "\tdown", 1).replace("steps: 40", "steps: 41"))
        assert path.read_text() != before
        code, said = together(forks, 2, *words, folders=homes)
        assert code != 0
        assert said.count("error ") == 1, said
        assert f"the {wrong} of process 1 are not those of process 0" in said
        path.write_text(before)
    assert not (homes[0] / "run").exists()
