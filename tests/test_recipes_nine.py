"""Recipes of nine tasks, and of every row of QQP: their variants ask the same questions."""

from pathlib import Path

import pytest

import trivium
from trivium.parts.adapters.houlsby import Houlsby
from trivium.parts.regularizers import Distill
from trivium.recipe import load_recipe_file
from trivium.recipe.budget import FULL

ROOT = Path(__file__).parents[1]
NINE = ROOT / "recipes" / "one-for-nine"
EVERY = ROOT / "recipes" / "every-row"
COURSE = ROOT.parent / "shared" / "data" / "cs224n"

pytestmark = pytest.mark.skipif(not COURSE.is_dir(), reason=f"the course's data is not at {COURSE}")


@pytest.mark.parametrize("budget", [FULL, "quick"])
@pytest.mark.parametrize("path", sorted(NINE.glob("*.yaml")), ids=lambda p: p.stem)
def test_a_variant_of_nine_tasks_answers_the_same_nine_questions(path: Path, budget: str) -> None:
    plain = load_recipe_file(NINE / "plain.yaml", budget=budget).recipe
    recipe = load_recipe_file(path, budget=budget).recipe
    own = {name: task for name, task in recipe.tasks.items() if not task.auxiliary}
    assert len(own) == 9
    other = [name for name in plain.tasks if own[name] != plain.tasks[name]]
    assert other == (["qqp"] if path.stem == "apart" else [])
    assert all(task.test is None for task in recipe.tasks.values())  # dev only
    if recipe.start is not None:  # it goes on with another's model: below
        return
    last = recipe.stages[-1]
    assert (last.lr, last.epochs) == (plain.stages[0].lr, plain.stages[0].epochs)
    stages = {name for stage in recipe.stages for name in recipe.stage_tasks(stage)}
    assert stages == set(recipe.tasks)


@pytest.mark.parametrize("budget", [FULL, "quick"])
@pytest.mark.parametrize(
    ("path", "first", "task"),
    [
        (NINE / "sides.yaml", NINE / "plain.yaml", "stsb"),
        (NINE / "taught-sides.yaml", NINE / "plain.yaml", "stsb"),
        (EVERY / "three-sides.yaml", EVERY / "three-joint.yaml", "similarity"),
    ],
    ids=["nine", "taught", "three"],
)
def test_sides_are_of_one_task_and_nothing_that_others_read_learns(
    path: Path, first: Path, task: str, budget: str
) -> None:
    recipe, before = (load_recipe_file(p, budget=budget).recipe for p in (path, first))
    assert recipe.start == str(first)
    assert recipe.tasks == before.tasks
    assert recipe.freezes_base
    (adapter,), (stage,) = recipe.adapters, recipe.stages
    assert isinstance(adapter, Houlsby)
    assert adapter.tasks == stage.tasks == (task,)


def test_adapters_are_taught_what_the_single_task_model_says_of_pairs_without_labels() -> None:
    sides, taught = (load_recipe_file(NINE / f"{n}.yaml").recipe for n in ("sides", "taught-sides"))
    assert (taught.start, taught.adapters) == (sides.start, sides.adapters)
    (stage,) = taught.stages
    (distill,) = stage.regularizers
    assert isinstance(distill, Distill)
    assert set(distill.teachers) == set(distill.unlabelled) == {"stsb"}
    assert not distill.anneal  # at whose end labels would be those that the teacher guesses


def test_every_row_of_qqp_is_trained_alone_as_it_is_beside_others() -> None:
    shared = trivium.load_recipe(EVERY / "three-joint.yaml")
    alone = trivium.load_recipe(EVERY / "qqp-joint.yaml")
    assert alone.tasks == {"paraphrase": shared.tasks["paraphrase"]}
    assert not shared.stages[0].rows_per_epoch
    assert alone.stages[0].lr == shared.stages[0].lr
