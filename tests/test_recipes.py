"""Every published recipe trains for two steps, on the data it names."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

import trivium
from tests.support.thorough import some_of
from trivium.errors import RecipeError
from trivium.recipe import load_recipe_file
from trivium.recipe.change import change_recipe
from trivium.recipe.space import points_of, search_of, trials_of
from trivium.run.assembly.model import build
from trivium.run.folder.journal import read_journal
from trivium.run.folder.objectives import check_metrics, objectives_of
from trivium.run.rows.load import load_data
from trivium.run.teachers.find import find_lessons

ROOT = Path(__file__).parents[1]
COURSE = ROOT.parent / "shared" / "data" / "cs224n"
# So that two steps do not begin and end with half a minute of encoding.
SHORT = {
    "three-tasks": [
        "tasks.paraphrase.dev=null",
        "tasks.sentiment.dev=null",
        "tasks.similarity.dev={file: sts-dev.csv, rows: 50}",
    ],
    "cfimdb": ["tasks.movies.dev=null"],
    "sst-cfimdb": ["tasks.sentiment.dev=null"],
}


@pytest.mark.whole_run
@pytest.mark.parametrize(
    "path",
    some_of(
        [p for p in sorted((ROOT / "recipes").glob("*.yaml")) if p.stem != "one-for-three"],
        lambda path: path.stem in ("quickstart", "sst-cfimdb"),
    ),
    ids=lambda p: p.stem,
)  # that one learns from runs
def test_a_recipe_runs(path: Path, tmp_path: Path) -> None:
    if "shared/data" in path.read_text() and not COURSE.is_dir():
        pytest.skip(f"the course's data is not at {COURSE}")
    changes = ["stages.0.steps=2", "stages.0.batch_size=4", *SHORT.get(path.stem, [])]
    changes += ["probe=false"] if path.stem in SHORT else []
    recipe = trivium.load_recipe(path, changes)
    scores = trivium.train(recipe, tmp_path / "run", console=Console(file=StringIO()))
    assert scores["cost"]["rows"] >= 8
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()


SEARCHES = [
    *sorted((ROOT / "recipes" / "search").glob("*.yaml")),
    *(ROOT / "recipes" / "reports" / f"r4-{name}.yaml" for name in
      ("sst-full", "sst-frozen", "cfimdb-full", "cfimdb-frozen")),
]  # fmt: skip


@pytest.mark.parametrize(
    "path",
    some_of(SEARCHES, lambda path: path.stem in ("quickstart", "r4-sst-full")),
    ids=lambda p: p.stem,
)
def test_a_search_fits_its_recipe_and_its_data(path: Path) -> None:
    if path.stem != "quickstart" and not COURSE.is_dir():
        pytest.skip(f"the course's data is not at {COURSE}")
    file = load_recipe_file(path)
    search, recipe = search_of(file, path), file.recipe
    found, data = load_data(recipe)
    check_metrics(objectives_of(recipe, search), found, data, path)
    points = points_of(recipe, search, path)
    assert trials_of(search, points) == (8 if points else search.trials)
    for point in points:
        change_recipe(recipe, point, path)  # none is refused


@pytest.mark.parametrize(
    "path",
    some_of(
        sorted((ROOT / "recipes" / "study").glob("*.yaml")),
        lambda path: path.stem in ("sum", "lora-8", "pcgrad"),
    ),
    ids=lambda p: p.stem,
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


PRETRAINING = ROOT / "recipes" / "pretraining"


@pytest.mark.parametrize("name", ["r3", "quick", "within-task", "within-task-after"])
def test_a_recipe_of_pretraining_practises_reading_in_one_stage(name: str) -> None:
    if not COURSE.is_dir():
        pytest.skip(f"the course's data is not at {COURSE}")
    recipe = trivium.load_recipe(PRETRAINING / f"{name}.yaml")
    trained = [set(recipe.stage_tasks(stage)) for stage in recipe.stages]
    assert sum("words" in names for names in trained) == 1
    assert ({"sentiment", "paraphrase", "similarity"} in trained) == (name != "quick")


def test_fine_tuning_goes_on_from_the_pretrained_encoder_of_this_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not COURSE.is_dir():
        pytest.skip(f"the course's data is not at {COURSE}")
    folder = tmp_path.resolve() / "runs" / "pretrained" / "model"
    folder.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    recipe = trivium.load_recipe(PRETRAINING / "fine-tuned.yaml")
    first = trivium.load_recipe(ROOT / "recipes" / "study" / "sum.yaml")
    assert recipe == first.model_copy(update={"encoder": str(folder)})


@pytest.mark.thorough
@pytest.mark.whole_run
@pytest.mark.parametrize("name", ["r3", "quick", "within-task-after"])  # they extend the others
def test_a_recipe_of_pretraining_runs_its_stages(name: str, tmp_path: Path) -> None:
    if not COURSE.is_dir():
        pytest.skip(f"the course's data is not at {COURSE}")
    path = PRETRAINING / f"{name}.yaml"
    recipe = trivium.load_recipe(path)
    stages = range(len(recipe.stages))
    short = [f"stages.{i}.{k}" for i in stages for k in ("steps=2", "batch_size=4")]
    judged = [f"tasks.{n}.dev=null" for n in recipe.tasks if n not in ("words", "similarity")]
    few = [
        f"tasks.{name}.train={{file: {source.file}, rows: 100}}"  # reading all of Quora's takes 5 s
        for name, task in recipe.tasks.items() for source in getattr(task, "train", None) or ()
    ]  # fmt: skip
    (source,) = recipe.tasks["similarity"].sources("dev")  # each stage is judged by it
    few += [f"tasks.similarity.dev={{file: {source.file}, rows: 50}}", "tasks.words.dev_texts=50"]
    recipe = trivium.load_recipe(path, [*short, *judged, *few])
    scores = trivium.train(recipe, tmp_path / "run", console=Console(file=StringIO()))
    found = [e["stage"] for e in read_journal(tmp_path / "run") if e["event"] == "step"]
    assert found == [stage.name for stage in recipe.stages for _ in range(2)]
    assert scores["tasks"]["words"]["dev"]["perplexity"] > 1


DISTILL = ROOT / "recipes" / "distill"


@pytest.mark.parametrize("task", ["sentiment", "paraphrase", "similarity"])
def test_a_teacher_has_its_task_as_the_student_has_it(task: str) -> None:
    if not COURSE.is_dir():
        pytest.skip(f"the course's data is not at {COURSE}")
    student = trivium.load_recipe(DISTILL / "student.yaml")
    teacher = trivium.load_recipe(DISTILL / f"teacher-{task}.yaml")
    assert teacher.tasks == {task: student.tasks[task]}


@pytest.mark.parametrize("task", ["sentiment", "paraphrase", "similarity"])
def test_one_for_three_learns_from_models_that_answer_as_it_does(task: str) -> None:
    if not COURSE.is_dir():
        pytest.skip(f"the course's data is not at {COURSE}")
    one = trivium.load_recipe(ROOT / "recipes" / "one-for-three.yaml")
    single = trivium.load_recipe(ROOT / "recipes" / "one-for-three" / f"single-{task}.yaml")
    assert single.tasks == {task: one.tasks[task]}
    (part,) = one.stages[0].regularizers
    (teacher,) = part.model_dump()["teachers"][task].splitlines()
    assert teacher.endswith(f"runs/one-for-three/single-{task}/seed-{{seed}}")


def test_the_student_says_which_teacher_it_misses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not COURSE.is_dir():
        pytest.skip(f"the course's data is not at {COURSE}")
    monkeypatch.chdir(tmp_path)
    recipe = trivium.load_recipe(DISTILL / "student.yaml", ["tasks.paraphrase.dev=null"])
    folder = tmp_path.resolve() / "runs" / "teacher-sentiment"
    with pytest.raises(RecipeError) as caught:
        find_lessons(*load_data(recipe))
    assert str(caught.value).startswith(
        f"stages.0.regularizers.0.teachers.sentiment: {folder}: no such folder. Train the teacher"
    )
