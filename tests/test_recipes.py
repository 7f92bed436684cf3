"""Every published recipe trains for two steps, on the data it names."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

import trivium
from trivium.run.build import build

ROOT = Path(__file__).parents[1]
COURSE = ROOT.parent / "shared" / "data" / "cs224n"
# So that two steps do not end with half a minute of evaluation.
SHORT = {"three-tasks": ["tasks.paraphrase.dev=null", "tasks.sentiment.dev=null"]}


@pytest.mark.whole_run
@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda p: p.stem)
def test_a_recipe_runs(path: Path, tmp_path: Path) -> None:
    if "shared/data" in path.read_text() and not COURSE.is_dir():
        pytest.skip(f"the course's data is not at {COURSE}")
    changes = ["stages.0.steps=2", "stages.0.batch_size=4", *SHORT.get(path.stem, [])]
    recipe = trivium.load_recipe(path, changes)
    scores = trivium.train(recipe, tmp_path / "run", console=Console(file=StringIO()))
    assert scores["cost"]["rows"] >= 8
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    "path", sorted((ROOT / "recipes" / "study").glob("*.yaml")), ids=lambda p: p.stem
)
def test_a_recipe_of_the_study_differs_from_the_first_in_one_thing(
    path: Path, minilm: Path
) -> None:
    if not COURSE.is_dir():
        pytest.skip(f"the course's data is not at {COURSE}")
    first = trivium.load_recipe(path.with_name("sum.yaml")).model_dump()
    recipe = trivium.load_recipe(path)
    other = recipe.model_dump()
    model, _ = build(recipe)
    assert sum(parameter.numel() for parameter in model.parameters()) > 20_000_000
    changed = [key for key in first if first[key] != other[key]]
    assert len(changed) == (path.stem != "sum")
