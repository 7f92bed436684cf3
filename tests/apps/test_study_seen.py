"""A study shows scores on training rows beside those on dev, where its runs have them."""

import json
from pathlib import Path
from typing import Any

import yaml

from tests.support.studies import finish_by_hand
from tests.support.tables import make_recipe
from trivium.apps.study.columns import NOTHING, cells_of, columns_of
from trivium.apps.study.runs import plan_study
from trivium.apps.study.table import summarise


def study_of(tiny: Path, folder: Path, trained: dict[str, list[float]]) -> Any:
    """trained: recipe -> its score of mood on training rows, by seed; none where it is empty."""
    values, recipes = make_recipe(tiny, folder), []
    for name, scores in trained.items():
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(values | {"train_rows": 10 if scores else None}))
        recipes.append(path)
        for seed in range(2):
            dev = {"mood": 0.5 + 0.2 * seed, "same": 0.5, "near": 0.25}
            finish_by_hand(path, folder / "out", seed, dev, {})
            if scores:
                file = folder / "out" / name / f"seed-{seed}" / "scores.json"
                told = json.loads(file.read_text())
                told["tasks"]["mood"]["train"] = {"accuracy": scores[seed], "rows": 10}
                file.write_text(json.dumps(told))
    return summarise(plan_study(recipes, folder / "out", seeds=2, changes=[]), {})


def test_there_is_a_column_and_a_summary_of_the_runs_that_have_them(
    tiny: Path, tmp_path: Path
) -> None:
    table = study_of(tiny, tmp_path, {"by-heart": [0.9, 1.0], "plain": []})
    content = table.as_dict()["recipes"]
    assert content[0]["tasks"]["mood"]["seen"]["values"] == [0.9, 1.0]
    assert "seen" not in content[0]["tasks"]["same"]
    assert "seen" not in content[1]["tasks"]["mood"]
    columns = columns_of(table.recipes)
    titles = [column.title for column in columns]
    assert titles[:4] == ["mood accuracy", "mood on train", "near pearson", "same accuracy"]
    cells = [row for _, row in cells_of(table.recipes, columns, lambda text: f"*{text}*")]
    assert [row[1] for row in cells] == ["0.9500 ± 0.0707", NOTHING]
    assert cells[0][0] == cells[1][0] == "0.6000 ± 0.1414"


def test_without_any_nothing_is_shown(tiny: Path, tmp_path: Path) -> None:
    table = study_of(tiny, tmp_path, {"one": [], "two": []})
    assert not any(
        "train" in c.title and "trained" not in c.title for c in columns_of(table.recipes)
    )
    assert "seen" not in json.dumps(table.as_dict())
