"""Ensembles in studies: which folders hold what is asked for."""

from pathlib import Path
from typing import Any

import pytest
import yaml

import trivium
from tests.support.shell import spoken
from tests.support.tables import make_recipe
from trivium.apps.study.runs import plan_study
from trivium.errors import RecipeError
from trivium.recipe import load_recipe


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
