"""A finished run is read as it was written, or refused with what is wrong."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.runs import NEAR, TAGS, moods, split_of, write_run
from trivium.errors import RecipeError
from trivium.parts.tasks import Classification, Multilabel, Ordinal, Regression, Task
from trivium.run.folder.environment import Environment
from trivium.run.folder.finished import read_run
from trivium.run.folder.predictions import read_answers, write_predictions
from trivium.run.predictor.scoring import score
from trivium.run.rows.splits import Split
from trivium.text.tables import open_table
from trivium.types import Example, Row, Target

ROWS = 300


def drawn(kind: str) -> tuple[Task, list[Target], Tensor]:
    """A task, targets and what a model might say of them, with values that are hard to print."""
    random = torch.Generator().manual_seed(3)
    if kind == "regression":
        said_BK = 5 * torch.rand(ROWS, 1, generator=random)
        noisy = said_BK.squeeze(1) + torch.randn(ROWS, generator=random)
        return Regression(**NEAR), [round(v, 2) for v in noisy.clamp(0, 5).tolist()], said_BK
    if kind == "multilabel":
        p_BK = torch.rand(ROWS, 3, generator=random)
        p_BK[:20] = 0.5 - 3e-8 * torch.randint(-3, 4, (20, 3), generator=random)
        hot = (torch.rand(ROWS, 3, generator=random) > 0.5).tolist()
        return (
            Multilabel(**TAGS),
            [tuple(place for place, on in enumerate(row) if on) for row in hot],
            p_BK,
        )
    labels = {str(place): f"grade {place}" for place in range(5)}
    logit_BK = torch.randn(ROWS, 5, generator=random)
    logit_BK[:40] *= 1e-7  # equal, to six decimals
    settings: dict[str, Any] = {"text": "text", "label": "l", "labels": labels}
    task = Ordinal(**settings) if kind == "ordinal" else Classification(**settings)
    targets = torch.randint(5, (ROWS,), generator=random).tolist()
    return task, targets, logit_BK.softmax(dim=1)


@pytest.mark.parametrize("kind", ["classification", "ordinal", "multilabel", "regression"])
def test_answers_are_read_as_they_were_said(kind: str, tmp_path: Path) -> None:
    task, targets, readout_BK = drawn(kind)
    split = split_of(task, targets)
    write_predictions(tmp_path / "p" / "t-dev.csv", task, readout_BK, split)
    found = read_answers(tmp_path / "p" / "t-dev.csv", task)
    assert found.texts == [example.texts for example in split.examples]
    assert found.lines == [example.line for example in split.examples]
    assert [str(answer) for answer in task.answers(readout_BK)] == found.predictions
    assert torch.equal(found.target_B, task.targets(targets))
    torch.testing.assert_close(found.readout_BK, readout_BK, atol=1e-5, rtol=1e-5)
    wanted = score(task, readout_BK, split)
    again = task.scores(found.readout_BK, found.target_B) | {"rows": ROWS}
    # What printing rounds moves correlations only (ties have a mean rank); right stays right.
    assert again == pytest.approx(wanted, abs=1e-2 if kind == "ordinal" else 1e-5)
    if task.metric != "pearson":
        assert again[task.metric] == wanted[task.metric]
        assert task.answers(found.readout_BK) == task.answers(readout_BK)


def test_texts_come_back_whatever_stands_in_them(tmp_path: Path) -> None:
    task = Classification(text=("line", "prediction"), label="l", labels=["a,b", 'c"'])
    texts = [("a\rb", "two\nlines"), ('say "it"', ","), ("\r\n", " "), ("é", "\x1f\u2028")]
    texts += [("\r", "x"), ('"\r', "\ufeff")]
    examples = [Example(each, row % 2, row + 2) for row, each in enumerate(texts)]
    readout_BK = torch.tensor([[0.9, 0.1]] * 6)
    write_predictions(tmp_path / "p" / "t-dev.csv", task, readout_BK, Split("dev", (), examples))
    limit = csv.field_size_limit()
    found = read_answers(tmp_path / "p" / "t-dev.csv", task)
    assert csv.field_size_limit() == limit  # of the whole process, and others rely on it
    assert found.texts == texts
    assert found.labels == ["a,b", 'c"'] * 3
    assert found.predictions == ["a,b"] * 6


def test_answers_are_a_table_like_any_other(tmp_path: Path) -> None:
    task, path = Classification(text="text", label="l", labels=["a", "b"]), tmp_path / "p" / "x.csv"
    texts = ["a\rb", "\r", "two\nlines, or rows", "1,2\n3,4", "\ufeff", "\0nul", '"']
    examples = [Example((text,), 1, row + 2) for row, text in enumerate(texts)]
    readout_BK = torch.tensor([[0.9, 0.1]] * len(texts))
    write_predictions(path, task, readout_BK, Split("dev", (), examples))
    wanted = [text.replace("\0", "\ufffd") for text in texts]
    assert [row.cells["text"] for row in open_table(path) if isinstance(row, Row)] == wanted
    assert [text for (text,) in read_answers(path, task).texts] == wanted


def test_a_finished_run_tells_what_its_folder_holds(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", {"mood": moods([1, 0, 1], [0, 1, 1])}, seed=7)
    (folder / "model").mkdir()
    (folder / "model" / "weights").write_bytes(b"x" * 100)
    (folder / "journal.jsonl").write_text('{"event": "stage"}\n{"event": "step"}\n{"cut sh')
    (folder / "environment.json").write_text('{"python": "3"}')
    run = read_run(folder)
    assert (run.recipe.seed, run.model_bytes, run.is_ensemble) == (7, 100, False)
    assert [event["event"] for event in run.events()] == ["stage", "step"]
    assert run.environment == Environment(python="3")
    assert run.answers("mood", "test") is None
    assert run.answers("nothing") is None
    answers = run.answers("mood")
    assert answers is not None
    assert (answers.labels, answers.predictions) == (["down", "up", "up"], ["down", "down", "up"])


def test_a_run_without_a_journal_or_environment_has_none(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "run", {"mood": moods([1, 0], [0, 1])}))
    assert (list(run.events()), run.environment, run.model_bytes) == ([], Environment(), 0)


def test_what_is_no_finished_run_is_refused_with_what_to_do(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", {"mood": moods([1, 0], [0, 1])})
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()

    def said(of: Path) -> str:
        with pytest.raises(RecipeError) as error:
            read_run(of)
        return str(error.value)

    assert "no such folder" in said(tmp_path / "none")
    assert "is a file" in said(tmp_path / "file")
    assert "is no run" in said(tmp_path / "empty")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "trivium.json").touch()
    assert "name the run's folder" in said(tmp_path / "model")
    (folder / "predictions" / "mood-dev.csv").unlink()
    (folder / "predictions").rmdir()
    assert "has no predictions/" in said(folder)
    scores = (folder / "scores.json").read_text()
    (folder / "scores.json").write_text("{")
    assert "is damaged" in said(folder)
    (folder / "scores.json").unlink()
    assert "--resume" in said(folder)
    (folder / "scores.json").write_text(scores)
    (folder / "recipe.yaml").unlink()
    assert "has no recipe.yaml" in said(folder)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("line,text,label", "line,words,label", ":1: wanted the columns line, text"),
        ("probability_up", "probability_over", "probability_down, probability_up at the end"),
        ("\n3,", "\n3,more,", ":3: wanted 7 cells"),
        ("\n3,", "\nthree,", ":3: wanted 7 cells, the first a line's number"),
        (",up,", ",upp,", "'upp', which is none of the task's labels"),
        ("0.75", "much", ":2: could not convert"),
        ("0.75", "nan", ":2: holds 'nan', which is no finite number"),
        ("0.75", "-inf", "holds '-inf', which is no finite number"),
        ("0.75", "1e39", "holds '1e39', which is no finite number"),
        ("text 1", '"text 1', "cannot be read"),
        ("\n3,text 1,up,up,0.75,0.25,0.75", "", "holds 1 rows, but scores.json tells of 2"),
    ],
)
def test_an_altered_file_of_answers_is_refused_with_its_line(
    old: str, new: str, said: str, tmp_path: Path
) -> None:
    folder = write_run(tmp_path / "run", {"mood": moods([1, 1], [0, 1])})
    path = folder / "predictions" / "mood-dev.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(RecipeError) as error:
        read_run(folder).answers("mood")
    assert said in str(error.value)
    assert str(path) in str(error.value)


def test_a_true_score_that_is_no_number_is_refused(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", {"near": ([1.0, 2.0], torch.tensor([[1.5], [2.5]]))})
    path = folder / "predictions" / "near-dev.csv"
    path.write_text(path.read_text().replace("2.0", "inf"))
    with pytest.raises(RecipeError, match=r"near-dev.csv:3: holds 'inf', which is no finite"):
        read_run(folder).answers("near")


@pytest.mark.parametrize(
    ("name", "place", "value", "said"),
    [
        ("scores.json", ["tasks"], None, "scores.json: tasks: field required"),
        ("scores.json", ["tasks"], [1], "tasks: input should be a valid dictionary, found '[1]'"),
        ("scores.json", ["tasks", "mood"], 0.5, "tasks.mood: input should be a valid dict"),
        ("scores.json", ["tasks", "mood", "dev"], "?", "tasks.mood.dev: input should be"),
        ("scores.json", ["tasks", "mood", "dev", "accuracy"], "much", "accuracy: input should be"),
        ("scores.json", ["tasks", "odd"], {}, "tells of 'odd', which is no task of recipe.yaml"),
        ("scores.json", ["overall"], 0.5, "overall: input should be a valid dictionary"),
        ("scores.json", ["cost"], [3], "cost: input should be a valid dictionary"),
        ("scores.json", ["cost", "seconds"], "3", "cost.seconds: input should be a valid number"),
        ("scores.json", ["precision"], 32, "precision: input should be a valid string"),
        ("environment.json", ["packages"], "torch", "packages: input should be a valid dict"),
        ("environment.json", ["cpu"], {}, "environment.json: cpu: input should be a valid string"),
    ],
)
def test_a_damaged_table_is_refused_with_the_place_in_it(
    name: str, place: list[str], value: Any, said: str, tmp_path: Path
) -> None:
    folder = write_run(tmp_path / "run", {"mood": moods([1, 1], [0, 1])})
    (folder / "environment.json").write_text('{"cpu": "c", "packages": {"torch": "2"}}')
    read_run(folder)
    told = json.loads((folder / name).read_text())
    inner = told
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    if value is None:
        del inner[place[-1]]
    (folder / name).write_text(json.dumps(told))
    with pytest.raises(RecipeError) as error:
        read_run(folder)
    assert said in str(error.value)
    assert str(folder / name) in str(error.value)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (['{"event": "step"}'], ":1: a step before any stage"),
        (['{"event": "guard"}', '{"event": "step"}'], ":2: a step before any stage"),
        (['{"event": "stage"}', "{", "{}"], ":2: is no event"),
        (['{"event": "stage"}', "[1]"], ":2: is no event"),
        (['{"event": "stage"}', "{}"], ":2: is no event"),
    ],
)
def test_a_damaged_journal_is_refused_with_its_line(
    lines: list[str], said: str, tmp_path: Path
) -> None:
    folder = write_run(tmp_path / "run", {"mood": moods([1, 1], [0, 1])})
    (folder / "journal.jsonl").write_text("".join(f"{line}\n" for line in lines))
    with pytest.raises(RecipeError) as error:
        list(read_run(folder).events())
    assert f"{folder / 'journal.jsonl'}{said}" in str(error.value)


def test_scores_of_an_older_form_without_costs_or_rows_can_be_read(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", {"mood": moods([1, 0], [0, 1])})
    told = json.loads((folder / "scores.json").read_text())
    del told["cost"], told["overall"], told["tasks"]["mood"]["dev"]["rows"]
    (folder / "scores.json").write_text(json.dumps(told))
    assert read_run(folder).answers("mood") is not None
