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

from tests.support.distributed import recipe_of, together, torchrun, train, weights
from tests.support.facts import facts
from tests.support.forks import Forks
from tests.support.processes import PATIENCE_S, wait_until
from trivium.model.weights import read_weights
from trivium.run.folder.names import ENVIRONMENT, RESUME, SCORES

pytestmark = [pytest.mark.whole_run, pytest.mark.xdist_group("processes")]

STAGE: dict[str, Any] = {
    "dropout": 0.2, "steps": 40, "checkpoint_every": 4, "batch_size": 9, "evaluate_every": 20,
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(
    tiny: Path, forks: Forks, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A recipe, and its run in two processes that nothing disturbed."""
    from tests.support.tables import make_recipe

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


@pytest.mark.parametrize("rank", [0, 1])
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
