"""Teachers: found or refused by what is written of them, asked once, and learned from."""

import json
import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from rich.console import Console

import trivium
from tests.support import distributed
from tests.support.deaths import dies_in_step
from tests.support.forks import Forks
from tests.support.tables import make_recipe, write_table
from trivium.digest import sha256
from trivium.errors import Interrupted, RecipeError
from trivium.model.weights import read_tensors
from trivium.recipe import Recipe, Stage, parse_recipe
from trivium.run import train as training
from trivium.run.check import check
from trivium.run.ensemble import ensemble
from trivium.run.folder.journal import read_journal
from trivium.run.predictor.trained import load_trained
from trivium.run.rows.encoded import Encoded
from trivium.run.rows.load import load_data
from trivium.run.teachers.find import find_lessons
from trivium.run.teachers.lessons import Lessons
from trivium.run.training import ask_teachers, loop
from trivium.run.training.parameters import start_stage
from trivium.run.training.work import Setup

Values = dict[str, Any]


def quiet() -> Console:
    return Console(file=StringIO(), width=200)


@pytest.fixture(scope="session")
def school(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of a few steps: `mood` and `near` know one task, `all` and `other` know all three.

    `other` computed in bf16.
    """
    home = tmp_path_factory.mktemp("school")
    values = make_recipe(tiny, home)
    values["stages"] = [{"steps": 3, "batch_size": 8, "lr": 1e-3}]
    every = list(values["tasks"])
    for name, tasks, changes in (
        ("mood", ["mood"], {}), ("near", ["near"], {}), ("all", every, {}),
        ("other", every, {"seed": 1, "precision": "bf16"}),
    ):  # fmt: skip
        kept = {task: values["tasks"][task] for task in tasks}
        recipe = parse_recipe(values | changes | {"tasks": kept})
        trivium.train(recipe, home / name, console=quiet())
    return home


@pytest.fixture
def student(school: Path, tiny: Path, tmp_path: Path) -> Callable[..., Recipe]:
    """A recipe over the same tables whose one stage learns from teachers."""
    values = make_recipe(tiny, tmp_path)

    def make(changes: Values | None = None, stage: Values | None = None, **distill: Any) -> Recipe:
        part = {"kind": "distill", "teachers": {"mood": str(school / "mood")}} | distill
        stages = [
            {"steps": 4, "batch_size": 8, "lr": 1e-3, "regularizers": [part], **(stage or {})}
        ]
        tasks = {
            name: task | (changes or {}).get(name, {}) for name, task in values["tasks"].items()
        }
        return parse_recipe(values | {"tasks": tasks, "stages": stages})

    return make


Student = Callable[..., Recipe]


def lessons_of(recipe: Recipe) -> Lessons:
    return find_lessons(*load_data(recipe))


def refusal(recipe: Recipe) -> str:
    with pytest.raises(RecipeError) as caught:
        check(recipe, quiet())
    return str(caught.value)


def facts(run: Path) -> dict[str, Any]:
    """All of a run that does not depend on the clock."""
    events = [{k: v for k, v in e.items() if k != "seconds"} for e in read_journal(run)]
    files = sorted((run / "model").glob("*.safetensors"))
    return {"journal": events, "model": [sha256(path) for path in files]}


def die(*_: Any, **__: Any) -> None:
    """In the place of what a run shall not come to."""
    raise KeyboardInterrupt


def answers(run: Path, name: str) -> torch.Tensor:
    return read_tensors(run / "teachers" / f"{name}.safetensors")["readout"]


# --- finding and refusing ------------------------------------------------------------------------


def test_a_teacher_of_each_task_is_found(student: Student, school: Path) -> None:
    folder = str(school / "all")
    lessons = lessons_of(student(teachers={
        "mood": str(school / "mood"), "near": [str(school / "near"), folder],
    })).of("train")  # fmt: skip
    assert list(lessons) == ["mood", "near"]
    assert [one.folder for one in lessons["near"].teachers] == [school / "near", school / "all"]
    assert len(lessons["mood"].rows) == 96
    assert lessons["near"].rows[0] == lessons["near"].train.examples[0].texts


def test_every_seed_can_have_a_teacher_of_its_own(
    student: Student, school: Path, tmp_path: Path
) -> None:
    for seed, name in enumerate(("mood", "all")):
        shutil.copytree(school / name, tmp_path / f"seed-{seed}")
    recipe = student(teachers={"mood": str(tmp_path / "seed-{seed}")})
    for seed in (0, 1):
        (lesson,) = lessons_of(recipe.model_copy(update={"seed": seed}))
        assert lesson.teachers[0].folder.name == f"seed-{seed}"
    with pytest.raises(RecipeError, match="seed-2"):
        lessons_of(recipe.model_copy(update={"seed": 2}))


def test_one_folder_teaches_the_tasks_that_it_knows(student: Student, school: Path) -> None:
    assert list(lessons_of(student(teachers=str(school / "all"))).of("train")) == [
        "mood", "same", "near",
    ]  # fmt: skip
    assert list(lessons_of(student(teachers=str(school / "mood"))).of("train")) == ["mood"]
    assert list(lessons_of(student(teachers=str(school / "all"), tasks=["near"])).of("train")) == [
        "near"
    ]


def test_a_run_without_teachers_is_known_by_its_data_alone() -> None:
    assert Lessons().digest("abc") == "abc"


def test_a_model_folder_teaches_without_its_run(
    student: Student, school: Path, tmp_path: Path
) -> None:
    shutil.copytree(school / "mood" / "model", tmp_path / "model")
    lessons = lessons_of(student(teachers={"mood": str(tmp_path / "model")}))
    found = {one.teachers[0].digest for one in lessons}
    assert found == {one.teachers[0].digest for one in lessons_of(student())}


def test_a_teacher_may_call_the_task_otherwise(student: Student, school: Path) -> None:
    values = student().model_dump(mode="json")
    values["tasks"] = {
        "temper" if n == "mood" else n: t | {"name": ""} for n, t in values["tasks"].items()
    }
    for name, task in values["tasks"].items():
        task["name"] = name
    part = values["stages"][0]["regularizers"][0]
    part["teachers"] = {"temper": str(school / "mood")}
    assert (
        f"stages.0.regularizers.0.teachers.temper: {school / 'mood'} has no task 'temper'; "
        "there are 'mood'. Say what it calls it"
    ) in refusal(parse_recipe(values))
    part["teachers"] = {"temper": {"run": str(school / "mood"), "task": "mood"}}
    assert list(lessons_of(parse_recipe(values)).of("train")) == ["temper"]


def test_a_folder_is_looked_for_beside_the_recipe_and_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, here = tmp_path / "home", tmp_path / "here"
    for folder in (home / "near", here / "near", here / "far"):
        folder.mkdir(parents=True)
    monkeypatch.chdir(here)
    teachers = {"a": "near", "b": ["far", {"run": "nowhere", "task": "c"}]}
    task = {"kind": "classification", "text": "t", "label": "l"}
    stage = {"regularizers": [{"kind": "distill", "teachers": teachers}]}
    values = {"data": str(here), "tasks": {"a": task, "b": task}, "stages": [stage]}
    (home / "recipe.yaml").write_text(yaml.safe_dump(values))
    (part,) = trivium.load_recipe(home / "recipe.yaml").stages[0].regularizers
    assert part.model_dump()["teachers"] == {
        "a": str(home / "near"),
        "b": [str(here / "far"), {"run": str(here / "nowhere"), "task": "c"}],
    }


def test_a_folder_for_each_seed_is_looked_for_in_the_same_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, here = tmp_path / "home", tmp_path / "here"
    for folder in (home / "near" / "seed-0", here / "near", here / "far"):
        folder.mkdir(parents=True)
    monkeypatch.chdir(here)
    teachers = {"a": "near/seed-{seed}", "b": "far/seed-{seed}/x"}
    task = {"kind": "classification", "text": "t", "label": "l"}
    stage = {"regularizers": [{"kind": "distill", "teachers": teachers}]}
    values = {"data": str(here), "tasks": {"a": task, "b": task}, "stages": [stage]}
    (home / "recipe.yaml").write_text(yaml.safe_dump(values))
    (part,) = trivium.load_recipe(home / "recipe.yaml").stages[0].regularizers
    assert part.model_dump()["teachers"] == {
        "a": str(home / "near" / "seed-{seed}"), "b": str(here / "far" / "seed-{seed}" / "x"),
    }  # fmt: skip


WHERE = "stages.0.regularizers.0.teachers.mood: "


def test_a_teacher_that_is_not_there_is_refused(
    student: Student, school: Path, tmp_path: Path
) -> None:
    missing = tmp_path / "nowhere"
    assert f"{WHERE}{missing}: no such folder" in refusal(student(teachers={"mood": str(missing)}))
    missing.mkdir()
    assert "no trained model" in refusal(student(teachers={"mood": str(missing)}))


def test_a_teacher_that_is_not_finished_is_refused(
    student: Student, school: Path, tmp_path: Path
) -> None:
    run = tmp_path / "begun"
    shutil.copytree(school / "mood", run)
    (run / "scores.json").unlink()  # it has a model, but not its last
    said = f"{WHERE}{run}: this run is not finished. Go on with it first: trivium train"
    assert said in refusal(student(teachers={"mood": str(run)}))
    shutil.rmtree(run / "model")
    assert said in refusal(student(teachers={"mood": str(run)}))


@pytest.mark.parametrize(
    ("task", "changes", "said"),
    [
        ("mood", {"labels": ["up", "down"]},
         "its labels: down, up; this task's: up, down, in another order"),
        ("mood", {"labels": {"down": "sad", "up": "glad"}},
         "its labels: down, up; this task's: down (sad), up (glad)"),
        ("mood", {"labels": ["down", "up", "flat"]}, "this task's: down, up, flat"),
        ("mood", {"kind": "ordinal", "labels": ["down", "up"]},
         "its kind: classification; this task's: ordinal"),
        ("mood", {"text": ["text", "id"]}, "its mood is about one text, this one about a pair"),
        ("near", {"range": [0, 4]}, "its range: 0.0, 3.0; this task's: 0.0, 4.0"),
    ],
)  # fmt: skip
def test_a_teacher_with_other_answers_is_refused(
    task: str, changes: Values, said: str, student: Student, school: Path
) -> None:
    recipe = student({task: changes}, teachers={task: str(school / task)})
    told = refusal(recipe)
    assert told.startswith(f"stages.0.regularizers.0.teachers.{task}: {school / task} cannot teach")
    assert said in told


def test_a_folder_that_knows_no_task_of_the_stage_is_refused(
    student: Student, school: Path
) -> None:
    told = refusal(student(stage={"tasks": ["near"]}, teachers=str(school / "mood")))
    assert "stages.0.regularizers.0.teachers: " in told
    assert "knows none of the stage's tasks, but mood" in told
    told = refusal(student(tasks=["near"], teachers=str(school / "mood")))
    assert "has no task 'near'" in told


def test_nothing_is_written_for_a_teacher_that_does_not_fit(
    student: Student, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match="no such folder"):
        trivium.train(student(teachers={"mood": "nowhere"}), tmp_path / "run", console=quiet())
    assert not (tmp_path / "run").exists()


def test_a_run_cannot_replace_its_own_teacher(
    student: Student, school: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(school / "mood", run)
    before = sorted(run.rglob("*"))
    for teacher in (run, run / "model"):
        with pytest.raises(RecipeError, match="has its teacher in this very folder"):
            trivium.train(
                student(teachers={"mood": str(teacher)}), run, overwrite=True, console=quiet()
            )
    assert sorted(run.rglob("*")) == before


# --- asking --------------------------------------------------------------------------------------


def test_answers_are_the_mean_of_what_the_teachers_say_of_each_row(
    student: Student, school: Path, tmp_path: Path
) -> None:
    runs = [str(school / "all"), str(school / "other")]
    recipe = student(teachers={"mood": runs, "near": runs[:1]})
    trivium.train(recipe, tmp_path / "run", console=quiet())
    _, data = load_data(recipe)
    for task, folders in (("mood", runs), ("near", runs[:1])):
        rows = [example.texts for example in data[task]["train"].examples]
        each = [load_trained(run).readout(task, rows) for run in folders]
        found = answers(tmp_path / "run", task)
        torch.testing.assert_close(found, torch.stack(each).mean(0), rtol=1e-5, atol=1e-6)
        assert found.dtype == torch.float32
    assert not (tmp_path / "run" / "teachers" / "same.safetensors").exists()


def test_an_ensemble_teaches_as_one(student: Student, school: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ensemble"
    runs = [school / "mood", school / "all", school / "other"]
    ensemble(runs, folder, "mean", console=quiet())
    recipe = student(teachers=str(folder))
    assert list(lessons_of(recipe).of("train")) == ["mood", "same", "near"]
    trivium.train(recipe, tmp_path / "run", console=quiet())
    _, data = load_data(recipe)
    rows = [example.texts for example in data["mood"]["train"].examples]
    each = [load_trained(run).readout("mood", rows) for run in runs]
    torch.testing.assert_close(
        answers(tmp_path / "run", "mood"), torch.stack(each).mean(0), rtol=1e-5, atol=1e-6
    )
    other = student({"mood": {"labels": ["up", "down"]}}, teachers={"mood": str(folder)})
    assert f"{folder} cannot teach it: its labels: down, up" in refusal(other)
    (folder / "ensemble.json").write_text("{}")
    assert "is missing or damaged" in refusal(student(teachers=str(folder)))


def test_the_first_steps_learn_from_the_teacher_and_the_last_from_the_labels(
    student: Student, school: Path, tmp_path: Path
) -> None:
    stage = {"tasks": ["mood"], "steps": 4}
    trivium.train(student(stage=stage), tmp_path / "run", console=quiet())
    constant = student(stage=stage, anneal=False)
    trivium.train(constant, tmp_path / "constant", console=quiet())
    first, second = (
        [e for e in read_journal(tmp_path / run) if e["event"] == "step"]
        for run in ("run", "constant")
    )
    assert [step["penalties"]["mood"].keys() for step in first] == [{"distill"}] * 4
    each = [[step["penalties"]["mood"]["distill"] for step in run] for run in (first, second)]
    assert each[0][0] == each[1][0] != 0  # so that the second step is taken by equal models
    assert each[0][1] == pytest.approx(each[1][1] * 3 / 4, rel=1e-5)


def test_a_teacher_without_weight_changes_nothing(student: Student, tmp_path: Path) -> None:
    stage = {"steps": 3}
    plain = student(stage=stage | {"regularizers": []})
    trivium.train(plain, tmp_path / "plain", console=quiet())
    none = student(stage=stage, weight=0.0)
    trivium.train(none, tmp_path / "none", console=quiet())
    assert facts(tmp_path / "plain") == facts(tmp_path / "none")
    assert not (tmp_path / "none" / "teachers").exists()


def test_without_weight_nobody_is_asked_however_the_teachers_are_named(
    student: Student, school: Path
) -> None:
    for teachers in (str(school / "all"), {"mood": str(school / "all")}, "runs/nowhere"):
        assert not lessons_of(student(teachers=teachers, weight=0.0)).by_stage
    some = student(teachers=str(school / "all"), weight={"mood": 0, "same": 0.5})
    assert list(lessons_of(some).of("train")) == ["same", "near"]


def test_rows_without_labels_that_no_teacher_is_asked_about_are_noted(
    student: Student, school: Path
) -> None:
    files = {"mood": more(student, "mood"), "near": more(student, "near")}
    both = {task: str(school / "all") for task in files}
    for weight, left in ({"mood": 0}, ["mood"]), (0.0, ["mood", "near"]), (0.5, []):
        console = Console(file=StringIO(), width=300)
        check(student(teachers=both, unlabelled=files, weight=weight), console)
        assert isinstance(console.file, StringIO)
        told = [line for line in console.file.getvalue().splitlines() if "does not read" in line]
        assert len(told) == len(left)
        for line, task in zip(told, left, strict=True):
            assert f"stage train: distill does not read {files[task]}: its weight is 0" in line


def test_asking_leaves_no_trace_in_what_is_random(
    student: Student, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was killed when its teachers had answered is the run that was not."""
    trivium.train(student(), tmp_path / "whole", console=quiet())

    with monkeypatch.context() as patch:
        patch.setattr(training, "run_stages", die)
        with pytest.raises(KeyboardInterrupt):
            trivium.train(student(), tmp_path / "halves", console=quiet())
    assert not (tmp_path / "halves" / "resume").exists()
    with monkeypatch.context() as patch:
        patch.setattr(ask_teachers, "load_trained", die)  # nobody is asked again
        trivium.train(student(), tmp_path / "halves", resume=True, console=quiet())
    assert facts(tmp_path / "halves") == facts(tmp_path / "whole")


def test_a_stop_while_asking_keeps_what_is_complete(
    student: Student, school: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = student(teachers=str(school / "all"))
    trivium.train(recipe, tmp_path / "whole", console=quiet())
    real, asked = ask_teachers._ask, 0

    def ask_twice(*arguments: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked == 3:
            arguments[-1].set()
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ask_teachers, "_ask", ask_twice)
        with pytest.raises(Interrupted, match="finished answers are kept"):
            trivium.train(recipe, tmp_path / "halves", console=quiet())
    kept = sorted(path.name for path in (tmp_path / "halves" / "teachers").iterdir())
    assert kept == ["mood.safetensors", "same.safetensors"]
    trivium.train(recipe, tmp_path / "halves", resume=True, console=quiet())
    assert facts(tmp_path / "halves") == facts(tmp_path / "whole")


def test_resuming_in_the_middle_of_training_goes_on_bit_for_bit(
    student: Student, school: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = student(
        teachers=str(school / "all"),
        stage={"checkpoint_every": 1, "sampler": "joint", "combiner": "pcgrad"},
        temperature=2.0, unlabelled={"mood": more(student, "mood")},
    )  # fmt: skip
    trivium.train(recipe, tmp_path / "whole", console=quiet())
    with dies_in_step(3):
        trivium.train(recipe, tmp_path / "halves", console=quiet())
    trivium.train(recipe, tmp_path / "halves", resume=True, console=quiet())
    assert facts(tmp_path / "halves") == facts(tmp_path / "whole")


@pytest.fixture
def begun(
    student: Student, school: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Recipe, Path]:
    """A student of a teacher of its own, stopped when that had answered."""
    shutil.copytree(school / "mood", tmp_path / "teacher")
    recipe = student(teachers={"mood": str(tmp_path / "teacher")})

    with monkeypatch.context() as patch:
        patch.setattr(training, "run_stages", die)
        with pytest.raises(KeyboardInterrupt):
            trivium.train(recipe, tmp_path / "run", console=quiet())
    return recipe, tmp_path / "run"


def test_resuming_refuses_a_teacher_that_was_trained_anew(
    begun: tuple[Recipe, Path], school: Path, tmp_path: Path
) -> None:
    recipe, run = begun
    shutil.rmtree(tmp_path / "teacher")
    shutil.copytree(school / "all", tmp_path / "teacher")
    with pytest.raises(RecipeError, match="a teacher of mood, was trained anew since"):
        trivium.train(recipe, run, resume=True, console=quiet())


def test_resuming_refuses_other_rows(begun: tuple[Recipe, Path], tmp_path: Path) -> None:
    recipe, run = begun
    path = tmp_path / "data" / "mood-train.tsv"
    path.write_text(path.read_text().replace("good", "awful", 1))
    with pytest.raises(RecipeError, match=r"mood.safetensors: holds answers to other rows"):
        trivium.train(recipe, run, resume=True, console=quiet())


def test_damaged_answers_are_asked_for_again(begun: tuple[Recipe, Path]) -> None:
    recipe, run = begun
    path = run / "teachers" / "mood.safetensors"
    whole = path.read_bytes()
    for damaged in (whole[:-8], whole[:-4] + b"abcd", b""):
        path.write_bytes(damaged)
        trivium.train(recipe, run, resume=True, console=quiet())
        assert path.read_bytes() == whole
        (run / "scores.json").unlink()


def test_overwriting_a_run_forgets_its_teachers_answers(
    begun: tuple[Recipe, Path], student: Student
) -> None:
    _, run = begun
    plain = student(stage={"regularizers": []})
    trivium.train(plain, run, overwrite=True, console=quiet())
    assert not (run / "teachers").exists()


def test_stages_share_answers_or_have_their_own(
    student: Student, school: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = student()
    one, all_of = recipe.stages[0], str(school / "all")
    other = student(teachers={"mood": all_of}).stages[0]
    plain = student(stage={"regularizers": []}).stages[0]
    stages = tuple(
        stage.model_copy(update={"name": name, "steps": 2, "tasks": ("mood",)})
        for name, stage in (("a", one), ("b", plain), ("c", other), ("d", one))
    )
    recipe = recipe.model_copy(update={"stages": stages})
    lessons = lessons_of(recipe)
    assert [lesson.name for lesson in lessons] == ["mood", "mood-2"]
    assert lessons.of("a")["mood"] is lessons.of("d")["mood"]
    assert lessons.of("b") == {}
    heard = {}

    def listen(setup: Setup, stage: Stage, *rest: Any) -> Any:
        heard[stage.name] = setup.encoded["mood"].teacher_BK
        return start_stage(setup, stage, *rest)

    monkeypatch.setattr(loop, "start_stage", listen)
    trivium.train(recipe, tmp_path / "run", console=quiet())
    kept = sorted(path.stem for path in (tmp_path / "run" / "teachers").iterdir())
    assert kept == ["mood", "mood-2"]
    first, second = (answers(tmp_path / "run", name) for name in kept)
    assert not torch.equal(first, second)
    for stage, wanted in {"a": first, "c": second, "d": first}.items():
        torch.testing.assert_close(heard[stage], wanted, rtol=0, atol=0)
    assert heard["b"] is None
    steps = [e for e in read_journal(tmp_path / "run") if e["event"] == "step"]
    told = {step["stage"]: "penalties" in step for step in steps}
    assert told == {"a": True, "b": False, "c": True, "d": True}


@pytest.mark.parametrize("order", [("mood", "mood-2"), ("mood-2", "mood")])
def test_answers_to_one_task_are_not_kept_under_the_name_of_another(
    student: Student, school: Path, order: tuple[str, str]
) -> None:
    """Two teachers of `mood`, one after the other, beside a task that is called `mood-2`."""
    recipe = student()
    again = recipe.tasks["mood"].model_copy(update={"name": "mood-2"})
    tasks = {name: {"mood": recipe.tasks["mood"], "mood-2": again}[name] for name in order}
    mine, other = {"run": str(school / "mood"), "task": "mood"}, str(school / "all")
    parts = [
        {"kind": "distill", "teachers": {"mood": mine, "mood-2": mine}},
        {"kind": "distill", "teachers": {"mood": other}},
        {"kind": "distill", "teachers": {"mood": [mine, other]}},
    ]
    values = recipe.model_dump(mode="json") | {
        "tasks": {name: task.model_dump(mode="json") for name, task in tasks.items()},
        "stages": [
            {"name": n, "steps": 1, "regularizers": [p]} for n, p in zip("abc", parts, strict=True)
        ],
    }
    lessons = lessons_of(parse_recipe(values))
    names = {
        stage: {task: lesson.name for task, lesson in lessons.of(stage).items()} for stage in "abc"
    }
    assert names == {
        "a": {"mood": "mood", "mood-2": "mood-2"}, "b": {"mood": "mood-3"}, "c": {"mood": "mood-4"},
    }  # fmt: skip
    assert len(list(lessons)) == 4
    assert {lesson.task.name for lesson in lessons} == {"mood", "mood-2"}
    values["stages"][0]["regularizers"][0]["teachers"] = {"mood": mine}
    named = [lesson.name for lesson in lessons_of(parse_recipe(values))]
    assert named == ["mood", "mood-2", "mood-3"]  # as ever, where no other task has lessons


# --- text without labels -------------------------------------------------------------------------


def more(student: Student, task: str, rows: list[list[Any]] | None = None) -> str:
    """A file of new texts beside the tasks' own."""
    columns = ["text"] if task == "mood" else ["first", "second"]
    default: list[list[Any]] = [["cat", "dog"], ["very blue", "night"], ["red day", "not red"]]
    rows = [row[: len(columns)] for row in rows or default]
    path = Path(student().data) / f"{task}-more.tsv"
    write_table(path, columns, rows)
    return path.name


@pytest.mark.parametrize("task", ["mood", "near", "several"])
def test_rows_without_labels_take_their_teachers_answer(  # noqa: PLR0915
    task: str, student: Student, school: Path, tmp_path: Path
) -> None:
    file = more(student, "near" if task == "near" else "mood")
    kind = {"mood": {"kind": "multilabel", "threshold": 0.3}} if task == "several" else {}
    name = "near" if task == "near" else "mood"
    folder = school / "all"
    if task == "several":
        trivium.train(student(kind, stage={"regularizers": [], "tasks": ["mood"], "steps": 2}),
                      tmp_path / "teacher", console=quiet())  # fmt: skip
        folder = tmp_path / "teacher"
    recipe = student(kind, teachers={name: str(folder)}, unlabelled={name: file})
    seen: dict[str, Encoded] = {}

    def look(work: Any, lessons: Lessons, stopping: Any) -> Any:
        found = real(work, lessons, stopping)
        assert found is not None
        seen.update(found["train"])
        return found

    real = ask_teachers.teach
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "teach", look)
        trivium.train(recipe, tmp_path / "run", console=quiet())
    encoded = seen[name]
    labelled = len(load_data(recipe)[1][name]["train"].examples)
    assert len(encoded) == labelled + 3
    teacher = load_trained(folder)
    rows = [("cat", "dog"), ("very blue", "night"), ("red day", "not red")]
    texts = [row[: len(encoded.task.text_columns)] for row in rows]
    readout_BK = teacher.readout(name, texts)
    assert encoded.teacher_BK is not None
    torch.testing.assert_close(encoded.teacher_BK[labelled:], readout_BK)
    wanted = [teacher.task(name).answers(readout_BK)]
    settled = encoded.target_B[labelled:]
    if task == "near":
        torch.testing.assert_close(settled, readout_BK[:, 0])
    elif task == "several":
        assert settled.tolist() == (readout_BK >= 0.3).float().tolist()
    else:
        assert [encoded.task.answer_of(int(one)) for one in settled] == wanted[0]


def test_rows_that_stand_in_the_tasks_own_files_are_left_out_and_counted(student: Student) -> None:
    _, data = load_data(student())
    own = [data["mood"][split].examples[0].texts[0] for split in ("train", "dev")]
    file = more(student, "mood", [["cat"], [own[0]], ["dog"], [own[1]], ["cat"]])
    lesson = lessons_of(student(unlabelled={"mood": file})).of("train")["mood"]
    assert [example.texts for example in lesson.extra] == [("cat",), ("dog",), ("cat",)]
    assert lesson.left_out == 2
    file = more(student, "mood", [[own[0]], [own[1]]])
    told = refusal(student(unlabelled={"mood": file}))
    assert "stages.0.regularizers.0.unlabelled.mood: " in told
    assert "all its rows stand in the task's own files" in told


def test_rows_that_a_sample_of_the_training_file_leaves_out_are_its_own_rows_too(
    student: Student,
) -> None:
    folder = Path(student().data)
    rows: list[list[object]] = [[f"cat {n}", ["up", "down", ""][n % 3]] for n in range(30)]
    write_table(folder / "mood-many.tsv", ["text", "mood"], rows)
    write_table(folder / "mood-turned.tsv", ["text", "mood"], [["dog", "UP"]])
    more_rows = {"file": "mood-turned.tsv", "rows": 1, "relabel": {"UP": "up"}}
    train = [{"file": "mood-many.tsv", "rows": 4}, more_rows]
    recipe = student(
        {"mood": {"train": train, "missing_labels": "allow"}},
        unlabelled={"mood": "mood-many.tsv"},
    )
    lesson = lessons_of(recipe).of("train")["mood"]
    assert len(lesson.train.examples) == 5
    assert [e.texts[0] for e in lesson.extra] == [t for t, label in rows if not label]
    assert lesson.left_out == 20


def test_rows_without_a_label_are_asked_about_beside_rows_that_are_drawn(student: Student) -> None:
    folder = Path(student().data)
    rows: list[list[object]] = [[f"cat {n}", ["up", "down", ""][n % 3]] for n in range(60)]
    write_table(folder / "mood-many.tsv", ["text", "mood"], rows)
    drawn = {"dev": {"share": 0.2, "stratify": True}, "test": {"share": 0.2, "stratify": True}}
    recipe = student(
        {"mood": {"train": "mood-many.tsv", "missing_labels": "allow", **drawn}},
        unlabelled={"mood": "mood-many.tsv"},
    )
    lesson = lessons_of(recipe).of("train")["mood"]
    assert len(lesson.train.examples) < 40
    assert [e.texts[0] for e in lesson.extra] == [t for t, label in rows if not label]
    assert lesson.left_out == 40  # of training, and held out


def test_rows_of_held_out_files_are_left_out_although_they_have_no_label(
    student: Student,
) -> None:
    folder = Path(student().data)
    write_table(folder / "mood-test.tsv", ["text"], [["cat eats cat"], ["fish"]])
    write_table(folder / "mood-half.tsv", ["text", "mood"], [["dog", "up"], ["night", ""]])
    changes = {"test": "mood-test.tsv", "dev": "mood-half.tsv", "missing_labels": "allow"}
    rows = [[" cat eats cat"], ["fish"], ["night "], ["red"]]
    recipe = student({"mood": changes}, unlabelled={"mood": more(student, "mood", rows)})
    lesson = lessons_of(recipe).of("train")["mood"]
    assert [example.texts for example in lesson.extra] == [("red",)]
    assert lesson.left_out == 3


def test_rows_without_labels_count_as_rows_of_their_stage(student: Student) -> None:
    rows = [[f"cat {number}"] for number in range(40)]
    recipe = student(
        stage={"steps": None, "epochs": 1, "tasks": ["mood"]},
        unlabelled={"mood": more(student, "mood", rows)},
    )
    console = quiet()
    preview = check(recipe, console)
    (stage,) = preview.recipe.stages
    assert preview.rows(stage)["mood"] == 96 + 40
    assert preview.plan(stage).steps == 17
    assert isinstance(console.file, StringIO)
    told = console.file.getvalue()
    assert "also on 40 rows of" in told
    assert "mood: 136 rows an epoch by 8, each training row seen about 1.0 times" in told


def test_a_label_column_is_not_read_and_bad_rows_are_told_by_line(student: Student) -> None:
    path = Path(student().data) / "labelled.tsv"
    write_table(path, ["mood", "text"], [["sideways", "cat"], ["", "dog"]])
    lesson = lessons_of(student(unlabelled={"mood": path.name})).of("train")["mood"]
    assert [example.texts for example in lesson.extra] == [("cat",), ("dog",)]
    write_table(path, ["mood", "text"], [["up", "cat"], ["up", " "]])
    assert "labelled.tsv:3: column 'text' is empty" in refusal(
        student(unlabelled={"mood": path.name})
    )
    skipping = student({"mood": {"bad_rows": "skip"}}, unlabelled={"mood": path.name})
    assert len(lessons_of(skipping).of("train")["mood"].extra) == 1
    write_table(path, ["words"], [["cat"]])
    assert "no column 'text'" in refusal(student(unlabelled={"mood": path.name}))


# --- what people see -----------------------------------------------------------------------------


def test_the_preview_says_who_teaches_whom(student: Student, school: Path) -> None:
    console = Console(file=StringIO(), width=500)
    runs = [str(school / "all"), str(school / "other")]
    check(student(teachers={"mood": runs[0], "near": runs}, temperature=2), console)
    assert isinstance(console.file, StringIO)
    told = console.file.getvalue()
    assert "regularizer distill (temperature 2.0): mood x 1, near x 1" in told
    assert f"mood learns from {runs[0]}\n" in told
    assert f"near learns from the mean of {runs[0]}, {runs[1]}\n" in told


def test_answers_say_whose_they_are(student: Student, school: Path, tmp_path: Path) -> None:
    trivium.train(student(), tmp_path / "run", console=quiet())
    path = tmp_path / "run" / "teachers" / "mood.safetensors"
    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    told = json.loads(header["__metadata__"]["trivium"])
    assert told["task"] == "mood"
    assert told["teachers"] == [
        {"run": str(school / "mood"), "task": "mood",
         "sha256": sha256(school / "mood" / "model" / "trivium.json")}
    ]  # fmt: skip


# --- processes of their own ----------------------------------------------------------------------


@pytest.mark.thorough
@pytest.mark.whole_run
@pytest.mark.xdist_group("processes")
def test_two_processes_learn_from_the_answers_that_the_first_was_given(
    recipe_values: Values, forks: Forks, tmp_path: Path, school: Path
) -> None:
    write_table(Path(recipe_values["data"]) / "more.tsv", ["text"], [["cat dog"], ["red"], ["day"]])
    part = {
        "kind": "distill", "teachers": str(school / "all"), "temperature": 2.0,
        "unlabelled": {"mood": "more.tsv"},
    }  # fmt: skip
    recipe = distributed.recipe_of(
        recipe_values, tmp_path, regularizers=[part], batch_size=7, sampler="joint"
    )
    trivium.train(recipe, tmp_path / "run1", console=quiet())
    distributed.train(forks, recipe, tmp_path / "run2")
    for name in ("mood", "same", "near"):
        assert torch.equal(answers(tmp_path / "run1", name), answers(tmp_path / "run2", name))
    one, two = (distributed.weights(tmp_path / f"run{count}") for count in (1, 2))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=2e-5, rtol=1e-4, msg=name)
