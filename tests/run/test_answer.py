"""Rows as people have them: every task whose columns are there answers, from one pass."""

import csv
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

import trivium
from tests.support.tables import make_recipe, write_table
from trivium.cli import app
from trivium.errors import RecipeError


@pytest.fixture(scope="module")
def run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("answer")
    values = make_recipe(tiny, folder)
    trivium.train(
        values, folder / "run", changes=["stages.0.steps=2"], console=Console(file=StringIO())
    )
    return folder / "run"


@pytest.fixture(scope="module")
def model(run: Path) -> trivium.Predictor:
    return trivium.load(run)


def columns(model: trivium.Predictor) -> dict[str, tuple[str, ...]]:
    return {name: form.text for name, form in model.forms.items()}


def row(model: trivium.Predictor, *tasks: str, text: str = "good cat") -> dict[str, str]:
    """A row with what these tasks read."""
    read = [column for task in tasks for column in columns(model)[task]]
    return {column: f"{text} {place}" for place, column in enumerate(dict.fromkeys(read))}


def test_a_row_answers_every_task_whose_columns_it_has(model: trivium.Predictor) -> None:
    everything = row(model, *model.forms)
    (found,) = model.answer([everything])
    assert list(found) == list(model.forms)
    for name, form in model.forms.items():
        texts = tuple(everything[column] for column in form.text)
        assert found[name] == model.predict(name, [texts])[0]


def test_rows_with_different_columns_are_answered_in_their_order(model: trivium.Predictor) -> None:
    rows = [row(model, "mood"), row(model, "near"), row(model, "mood", text="bad dog")]
    found = model.answer(rows)
    assert ["mood" in each for each in found] == [True, False, True]
    assert "near" in found[1]
    assert found[2]["mood"] == model.predict("mood", [rows[2][columns(model)["mood"][0]]])[0]


def test_columns_that_no_task_reads_do_no_harm(model: trivium.Predictor) -> None:
    assert list(model.answer([row(model, "mood") | {"id": "7"}])[0]) == ["mood"]


def test_no_rows_have_no_answers(model: trivium.Predictor) -> None:
    assert model.answer([]) == []


@pytest.mark.parametrize(
    ("rows", "tasks", "said"),
    [
        ([{"txt": "x"}], None, r"rows\[0\]: answers no task: no column 'txt'"),
        ([{}], None, r"rows\[0\]: answers no task"),
        ([{"txt": "x"}], ["mood"], r"rows\[0\]: task 'mood' reads column 'text', which is missing"),
        ([{"text": "x"}, {"text": 7}], ["mood"], r"rows\[1\]\.text: must be a text, found int"),
        ([{"text": "x"}], [], r"^tasks: names no task\.$"),
        ([], (), r"^tasks: names no task\.$"),
        ([{"text": "x"}], 3, "^tasks: must be names of tasks, found 3; there are 'mood'"),
        ([{"text": "x"}], [["mood"]], r"^task: must be the name of one task, found \['mood'\]"),
        ([{"text": "x"}], ["mood", "mood"], "^tasks: names 'mood' twice"),
        ([{"text": "x"}], ["moood"], "no task 'moood'.*did you mean 'mood'"),
    ],
)
def test_a_row_that_cannot_be_answered_is_named(
    model: trivium.Predictor, rows: Any, tasks: Any, said: str
) -> None:
    with pytest.raises(RecipeError, match=said):
        model.answer(rows, tasks)


def test_a_model_without_tasks_that_answer_says_so(
    model: trivium.Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mute = {name: form.model_copy(update={"says": None}) for name, form in model.forms.items()}
    monkeypatch.setattr(model, "forms", mute)
    said = "answers no task: the model has none that answers"
    with pytest.raises(RecipeError, match=said):
        model.answer([{"text": "x"}])
    write_table(tmp_path / "in.csv", ["text"], [["x"]])
    with pytest.raises(RecipeError, match=said):
        trivium.predict_file(model, None, tmp_path / "in.csv", tmp_path / "out.csv")


def written(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_table_is_answered_by_all_tasks_with_their_names_before_their_columns(
    run: Path, model: trivium.Predictor, tmp_path: Path
) -> None:
    rows = [row(model, *model.forms, text=text) for text in ("good", "bad dog", "good")]
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    write_table(source, ["id", *rows[0]], [[f"r{i}", *r.values()] for i, r in enumerate(rows)])
    command = ["predict", str(run), "--all", "--file", str(source), "--out", str(target)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    found = written(target)
    assert [each["id"] for each in found] == ["r0", "r1", "r2"]
    for each, answers in zip(found, model.answer(rows), strict=True):
        for task, said in answers.items():
            assert each[f"{task}_prediction"] == str(said)


def test_a_table_is_answered_by_those_tasks_alone_that_are_named_or_that_fit(
    run: Path, model: trivium.Predictor, tmp_path: Path
) -> None:
    single = row(model, "mood")
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    write_table(source, list(single), [list(single.values())])
    trivium.predict_file(run, None, source, target)
    assert list(written(target)[0]) == [*single, "mood_prediction", "mood_confidence"]
    trivium.predict_file(run, ["mood"], source, target, probabilities=True, overwrite=True)
    assert {"mood_probability_up", "mood_probability_down"} < set(written(target)[0])
    with pytest.raises(RecipeError, match=r"task 'near': .*no column 'first'"):
        trivium.predict_file(run, ["mood", "near"], source, target, overwrite=True)
    write_table(source, ["words"], [["x"]])
    with pytest.raises(RecipeError, match="answers no task: no column 'words'"):
        trivium.predict_file(run, None, source, target, overwrite=True)


@pytest.mark.parametrize("words", [[], ["--task", "mood", "--all"]])
def test_which_question_is_meant_must_be_said_once(run: Path, words: list[str]) -> None:
    done = CliRunner().invoke(app, ["predict", str(run), "--file", "x.csv", *words])
    assert done.exit_code == 2
    assert "--task NAME (or NAME,NAME), or --all" in " ".join(done.output.split())
