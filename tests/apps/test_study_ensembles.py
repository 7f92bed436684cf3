"""Ensembles in studies: which folders hold what is asked for."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

import trivium
from tests.support.shell import spoken
from tests.support.studies import finish_by_hand
from tests.support.tables import make_recipe
from trivium.apps.study.crowd import carry_out_crowd
from trivium.apps.study.ensembles import EnsembleRun, Run
from trivium.apps.study.runs import plan_study
from trivium.errors import RecipeError
from trivium.recipe import load_recipe
from trivium.run.jobs.child import Outcome, Stop


@pytest.fixture
def rows(tiny: Path, tmp_path: Path) -> list[Path]:
    """Two recipes, of whose tasks one has no dev rows, and their ensemble by weights."""
    values: dict[str, Any] = make_recipe(tiny, tmp_path)
    values["stages"] = [{"steps": 1, "batch_size": 4, "lr": 1e-3}]
    del values["tasks"]["same"]["dev"]
    for name, lr in (("one", 1e-3), ("two", 2e-3)):
        values["stages"][0]["lr"] = lr
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(values))
    union = {"members": ["one.yaml", "two.yaml"], "how": "weights"}
    (tmp_path / "both.yaml").write_text(yaml.safe_dump({"ensemble": union}))
    return [tmp_path / f"{name}.yaml" for name in ("one", "two", "both")]


def test_weights_may_be_the_plain_mean_where_a_task_has_no_dev_rows(
    rows: list[Path], tmp_path: Path
) -> None:
    out, console = tmp_path / "out", spoken()[0]
    folders = [out / path.stem / "seed-0" for path in rows]
    for path, folder in zip(rows[:2], folders, strict=False):
        trivium.train(load_recipe(path, ["seed=0"]), folder, console=console)
    trivium.ensemble(folders[:2], folders[2], "weights", console=console)
    plan = plan_study(rows, out, 1, [])
    assert plan.runs[-1].is_finished

    trivium.ensemble(folders[:2], folders[2], "mean", overwrite=True, console=console)
    with pytest.raises(RecipeError, match="holds an ensemble of one/seed-0, two/seed-0 by mean"):
        plan_study(rows, out, 1, [])


def test_an_ensemble_that_is_made_between_runs_of_a_cluster_hears_that_it_is_to_stop(
    rows: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    plan = plan_study(rows, out, 1, [])
    for run in plan.runs:
        if not isinstance(run, EnsembleRun):
            finish_by_hand(run.path, out, 0, {"mood": 0.5}, {})
    stop, heard = Stop(), []

    def make(_run: Run, wish: Stop, _watch: object) -> Outcome:
        heard.append(wish)
        return Outcome("stopped", "trained")

    monkeypatch.setattr("trivium.apps.study.crowd.train_run", make)
    asked = SimpleNamespace(at_once=None)
    pool: Any = SimpleNamespace(store="file://store", asked=asked)
    assert carry_out_crowd(plan, pool, stop, spoken()[0]) == {}
    assert len(heard) == 1
    assert heard[0] is stop
