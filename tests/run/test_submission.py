"""Answers in the form of the CS224N default final project, read as its own scripts would."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import trivium
from tests.support.tables import write_table
from trivium.answering.reading import Reading, Texts
from trivium.answering.says import Floats
from trivium.cli import app
from trivium.errors import RecipeError
from trivium.recipe import parse_recipe
from trivium.run.predictor.base import Predictor

PAIR = {"text": ["sentence1", "sentence2"]}

TASKS: dict[str, dict[str, Any]] = {
    "sst": {
        "kind": "classification", "text": "sentence", "label": "sentiment",
        "labels": {4: "great", 0: "bad", 2: "so so"},
    },
    "stars": {"kind": "ordinal", "text": "sentence", "label": "s", "labels": [0, 1, 2]},
    "para": {
        "kind": "classification", **PAIR, "label": "is_duplicate",
        "labels": {"1.0": "same", "0.0": "different"},
    },
    "sts": {"kind": "regression", **PAIR, "label": "similarity", "range": [0, 5]},
    "nli": {"kind": "classification", **PAIR, "label": "y", "labels": [0, 1, 2]},
    "mood": {"kind": "classification", "text": "sentence", "label": "y", "labels": ["up", "down"]},
    "length": {"kind": "regression", "text": "sentence", "label": "y", "range": [0, 5]},
    "topics": {"kind": "multilabel", "text": "sentence", "label": "y", "labels": ["a", "b"]},
    "odd": {"kind": "classification", **PAIR, "label": "y", "labels": [1, 2]},
}  # fmt: skip

SINGLES = [["x", "A1 ", "two good"], ["y", "b2", "none"], ["z", "C3", "one, fine"]]

PAIRS = [["x", "A1 ", "two", "good"], ["y", "b2", "none", "such"]]


class Counting(Predictor):
    """Answers with the output whose number a row's first text begins with."""

    readers = ()

    def __init__(self) -> None:
        recipe = parse_recipe({"tasks": TASKS})
        self.forms = {name: task.form(512) for name, task in recipe.tasks.items()}

    def arrays(self, asks: Mapping[str, Iterable[Any]]) -> dict[str, Floats]:
        return {task: self._said(task, [*rows]) for task, rows in asks.items()}

    def _said(self, task: str, rows: Sequence[Texts]) -> Floats:
        words = ["none", "one", "two"]
        firsts = [text if isinstance(text, str) else text[0] for text in rows]
        found = [words.index((first.split() or ["none"])[0].strip(",")) for first in firsts]
        if task == "sts":
            return np.array(found, dtype=np.float32)[:, None] * np.float32(1.25)
        says = self.forms[task].says
        assert says is not None
        return np.eye(says.outputs, dtype=np.float32)[[place % says.outputs for place in found]]

    def read(self, readings: Sequence[Reading]) -> dict[str, Floats]:
        raise AssertionError(f"answers without reading {readings}")

    @property
    def precision(self) -> str:
        return "fp32"


def answered(folder: Path, task: str) -> Path:
    pair = TASKS[task]["text"] == PAIR["text"]
    columns = ["", "id", *(PAIR["text"] if pair else ["sentence"])]
    write_table(folder / "in.csv", columns, [list(row) for row in (PAIRS if pair else SINGLES)])
    target = folder / "out.csv"
    trivium.predict_file(Counting(), task, folder / "in.csv", target, form="cs224n")
    return target


def handed_in(path: Path) -> tuple[str, dict[str, str]]:
    """The answer's name and the answers by id, by the project's own rules for its files."""
    header, *lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    key, name = header.split("\t")
    assert (key, name[0], name[-1]) == ("id ", " ", " ")
    cells = [line.split(",") for line in lines]
    return name.strip(), {key.strip(): value.strip() for key, value in cells}


@pytest.mark.parametrize(
    ("task", "name", "answers"),
    [
        ("sst", "Predicted_Sentiment", ["2", "4", "0"]),  # the numbers of the column, not places
        ("stars", "Predicted_Sentiment", ["2", "0", "1"]),
        ("para", "Predicted_Is_Paraphrase", ["1.0", "1.0"]),
        ("sts", "Predicted_Similiary", ["2.5", "0.0"]),
    ],
)
def test_answers_stand_by_their_ids_as_the_project_writes_them(
    tmp_path: Path, task: str, name: str, answers: list[str]
) -> None:
    found = handed_in(answered(tmp_path, task))
    assert found == (name, dict(zip(["a1", "b2", "c3"], answers, strict=False)))


def test_the_lines_are_those_of_the_project_to_the_byte(tmp_path: Path) -> None:
    said = answered(tmp_path, "sst").read_bytes()
    assert said == b"id \t Predicted_Sentiment \na1 , 2 \nb2 , 4 \nc3 , 0 \n"


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("nli", "'nli' (classification, two texts a row) is none of the project's"),
        ("length", "'length' (regression, a text a row) is none of the project's"),
        ("topics", "'topics' (multilabel, a text a row) is none of the project's"),
        ("mood", "the label column holds 'up', but 'mood' would be handed in as whole numbers"),
        ("odd", "the label column holds '2', but 'odd' would be handed in as 0 and 1"),
    ],
)
def test_a_task_that_the_project_does_not_know_is_refused(
    tmp_path: Path, task: str, said: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        answered(tmp_path, task)
    assert said in str(caught.value)
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    ("columns", "rows", "said"),
    [
        (["key", "sentence"], [["a", "one"]], "no column 'id'"),
        (["id", "sentence"], [["a", "one"], ["b,c", "two"]], "in.csv:3: the id is 'b,c'"),
        (["id", "sentence"], [["a", "one"], ["", "two"]], "in.csv:3: the id is ''"),
    ],
)
def test_rows_without_an_id_to_hand_in_are_refused(
    tmp_path: Path, columns: list[str], rows: list[list[object]], said: str
) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    write_table(source, columns, rows)
    target.write_text("precious")
    with pytest.raises(RecipeError) as caught:
        trivium.predict_file(Counting(), "sst", source, target, form="cs224n", overwrite=True)
    assert said in str(caught.value)
    assert target.read_text() == "precious"


def test_formats_and_settings_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    write_table(tmp_path / "in.csv", ["id", "sentence"], [["a", "one"]])
    for settings, said in (
        ({"form": "cs224"}, "--format cs224: is none of table, cs224n"),
        ({"form": "cs224n", "probabilities": True}, "has no place for them"),
        ({"form": "cs224n", "prefix": "new_"}, "has no place for them.* --prefix out"),
    ):
        with pytest.raises(RecipeError, match=said):
            trivium.predict_file(
                Counting(), "sst", tmp_path / "in.csv", tmp_path / "out", **settings
            )
    words = ["predict", str(tmp_path), "--task", "a", "--file", "b", "--format", "cs224"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "is none of table, cs224n" in " ".join(result.output.split())


class Beyond(Counting):
    """Scores pairs beyond the end of their range."""

    def _said(self, task: str, rows: Sequence[Texts]) -> Floats:
        return super()._said(task, rows) + np.float32(4)


def test_a_score_is_handed_in_as_the_model_has_it(tmp_path: Path) -> None:
    columns = ["", "id", *PAIR["text"]]
    write_table(tmp_path / "in.csv", columns, [list(row) for row in PAIRS])
    for form in ("cs224n", "table"):
        target = tmp_path / f"{form}.csv"
        trivium.predict_file(Beyond(), "sts", tmp_path / "in.csv", target, form=form)
    assert handed_in(tmp_path / "cs224n.csv")[1] == {"a1": "6.5", "b2": "4.0"}
    lines = (tmp_path / "table.csv").read_text().splitlines()
    assert [line.rpartition(",")[2] for line in lines] == ["prediction", "5.0", "4.0"]
