"""Runs on a cluster are the runs that they are without one, to the byte.

One short test of a real cluster, of this machine alone; `make cluster` kills machines of larger
ones.
"""

import traceback
from pathlib import Path
from typing import Any

import pytest
import yaml

import trivium
from tests.support.shell import spoken
from tests.support.torment import content
from trivium.run.cluster.asked import OnRay
from trivium.run.cluster.opened import load_ray, why_lost


@pytest.mark.thorough
@pytest.mark.whole_run
@pytest.mark.xdist_group("ray")
def test_a_run_by_ray_is_the_run_without_it(recipe_values: dict[str, Any], tmp_path: Path) -> None:
    recipe = tmp_path / "base.yaml"
    stage = {"steps": 2, "batch_size": 8, "lr": 1e-3}
    recipe.write_text(yaml.safe_dump(recipe_values | {"stages": [stage]}))
    trivium.train(recipe, tmp_path / "plain", changes=["seed=0"])
    console, said = spoken()
    on = OnRay(cpus=1, memory=10**15)  # a petabyte
    table = trivium.study([recipe], tmp_path / "out", seeds=1, on=on, console=console)
    states = [run["state"] for row in table["recipes"] for run in row["runs"]]
    assert states == ["done"], said.getvalue()
    assert "a run asks for 1 cores, 1000000.0 GB; this machine has" in said.getvalue()
    assert content(tmp_path / "out" / "base" / "seed-0") == content(tmp_path / "plain")


@pytest.mark.xdist_group("ray")
def test_what_was_lost_is_told_by_what_went_wrong_and_not_by_where() -> None:
    ray = load_ray()
    try:
        raise OSError(28, "No space left on device")
    except OSError as error:
        raised = ray.exceptions.RayTaskError("answer", traceback.format_exc(), error)
    assert "File" in str(raised)
    told = why_lost(ray, raised)
    assert told == "lost by Ray: OSError: [Errno 28] No space left on device"
    killed = ray.exceptions.NodeDiedError("The node died.\nMore of it.")
    assert why_lost(ray, killed) == "lost by Ray: The node died"
