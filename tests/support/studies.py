"""Studies whose runs are written by hand."""

import json
from pathlib import Path

import pytest

from tests.support.shell import spoken
from trivium.apps.study import study
from trivium.errors import RecipeError
from trivium.recipe import dump_recipe, load_recipe

COST = {"seconds": 10.0, "tokens_per_s": 1000.0, "peak_memory_bytes": 2**30}


def finish_by_hand(
    recipe: Path,
    folder: Path,
    seed: int,
    scores: dict[str, float],
    cost: dict[str, float],
    rows: int | None = None,
) -> None:
    """A run's folder as training would leave it, as far as a study looks at it.

    rows: that it was judged on, of every task.
    """
    run = folder / recipe.stem / f"seed-{seed}"
    run.mkdir(parents=True)
    (run / "recipe.yaml").write_text(dump_recipe(load_recipe(recipe, [f"seed={seed}"])))
    metrics = {"mood": "accuracy", "same": "accuracy", "near": "pearson"}
    told = {"rows": rows} if rows else {}
    tasks = {name: {"dev": told | {metrics[name]: value}} for name, value in scores.items()}
    mean = sum(scores.values()) / len(scores)
    means = {"dev": {"leaderboard": mean + 0.1, "mean": mean}}
    written = {"tasks": tasks, "overall": means, "cost": COST | cost}
    (run / "scores.json").write_text(json.dumps(written))


def refusal(tmp_path: Path, recipes: list[Path], *changes: str, seeds: int = 1) -> str:
    """What is said of a study that cannot start; it writes nothing."""
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    with pytest.raises(RecipeError) as error:
        study(recipes, tmp_path / "out", seeds=seeds, changes=changes, console=spoken()[0])
    assert {p: p.is_file() and p.read_bytes() for p in tmp_path.rglob("*")} == before
    return str(error.value)
