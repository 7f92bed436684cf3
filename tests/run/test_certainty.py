"""What a prediction file tells beside the answers: ranks, all probabilities, the doubtful rows."""

import csv
import json
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

import trivium
from tests.support.tables import make_recipe, sentence, write_table
from trivium.answering.columns import Detail, certainty, told
from trivium.answering.form import Form
from trivium.answering.says import OneLabel, Score, SeveralLabels
from trivium.cli import app
from trivium.errors import RecipeError
from trivium.run.predictor.doubted import Doubted
from trivium.types import Row

LABELS = {"a": "A", "b": "B", "c": "C"}
ONE = OneLabel(labels=LABELS)
SEVERAL = SeveralLabels(labels=LABELS, threshold=0.5, separator=",")
READOUT = np.array([[0.25, 0.5, 0.25], [0.125, 0.125, 0.75]], dtype=np.float32)


def form(says: Any) -> Form:
    return Form(name="t", kind="any", text=("text",), apart=False, max_length=8, says=says)


@pytest.fixture(scope="module")
def run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certainty")
    trivium.train(
        make_recipe(tiny, folder),
        folder / "run",
        changes=["stages.0.steps=2"],
        console=Console(file=StringIO()),
    )
    return folder / "run"


@pytest.fixture(scope="module")
def model(run: Path) -> trivium.Predictor:
    return trivium.load(run)


def written(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_labels_are_ranked_by_probability_and_equals_stay_in_their_order() -> None:
    found = told({"t": form(ONE)}, {"t": READOUT}, Detail(top_k=2), prefixed=False)
    assert list(found) == [
        "prediction", "confidence", "top_1", "top_1_probability", "top_2", "top_2_probability",
    ]  # fmt: skip
    assert found["top_1"] == found["prediction"] == ["B", "C"]
    assert found["top_2"] == ["A", "A"]
    assert found["top_2_probability"] == [0.25, 0.125]


def test_more_ranks_than_labels_are_as_many_as_there_are() -> None:
    found = told({"t": form(SEVERAL)}, {"t": READOUT}, Detail(top_k=9), prefixed=True)
    assert list(found)[-2:] == ["t_top_3", "t_top_3_probability"]


def test_all_probabilities_fit_into_one_column() -> None:
    found = told({"t": form(ONE)}, {"t": READOUT}, Detail("json"), prefixed=False)
    assert list(found) == ["prediction", "confidence", "probabilities"]
    assert json.loads(str(found["probabilities"][1])) == {"A": 0.125, "B": 0.125, "C": 0.75}


def test_certainty_is_the_best_label_s_or_the_distance_of_the_closest_to_its_threshold() -> None:
    assert certainty(ONE, READOUT).tolist() == [0.5, 0.75]
    assert certainty(SEVERAL, READOUT).tolist() == [0.0, 0.25]
    with pytest.raises(RecipeError, match="a score comes without a certainty"):
        certainty(Score(range=(0, 1)), READOUT)


def test_the_least_certain_rows_are_those_a_sort_would_find_whatever_the_parts() -> None:
    sure = np.random.default_rng(0).permutation(40).astype(np.float32) / 100 + 0.5
    readout = np.stack([sure, 1 - sure], axis=1).astype(np.float32)
    for size in (1, 7, 40):
        kept = Doubted(5, [form(OneLabel(labels={"a": "A", "b": "B"}))])
        for start in range(0, 40, size):
            part = range(start, min(start + size, 40))
            rows = [Row({"text": str(number)}, number) for number in part]
            texts = [(str(number),) for number in part]
            kept.see(rows, texts, readout[part], [[str(number)] for number in part])
        assert [row.line for row, _ in kept.rows()] == np.argsort(sure)[:5].tolist()


def test_of_equally_certain_rows_the_first_are_kept_and_a_text_only_once() -> None:
    kept = Doubted(2, [form(ONE)])
    texts = [(text,) for text in "xxyz"]
    rows = [Row({"text": text}, line) for line, (text,) in enumerate(texts)]
    kept.see(rows, texts, READOUT[[0, 0, 0, 0]], [["?"]] * 4)
    assert [row.line for row, _ in kept.rows()] == [0, 2]


def test_a_file_of_the_least_certain_rows_has_those_of_the_whole_file(
    run: Path, model: trivium.Predictor, tmp_path: Path
) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    write_table(source, ["id", "text"], [[n, sentence(3 * n)] for n in range(30)])
    trivium.predict_file(model, "mood", source, tmp_path / "all.csv")
    by_doubt = sorted(written(tmp_path / "all.csv"), key=lambda row: float(row["confidence"]))
    command = ["predict", str(run), "--task", "mood", "--file", str(source), "--out", str(target)]
    done = CliRunner().invoke(app, [*command, "--least-certain", "6"])
    assert done.exit_code == 0, done.output
    assert "30 rows answered, the 6 least certain kept" in done.output
    assert [row["confidence"] for row in written(target)] == [r["confidence"] for r in by_doubt[:6]]


def test_ranks_and_json_are_written_for_every_task_that_has_labels(
    run: Path, tmp_path: Path
) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    write_table(source, ["text", "first", "second"], [["good cat", "red", "blue"]])
    command = ["predict", str(run), "--all", "--file", str(source), "--out", str(target)]
    done = CliRunner().invoke(app, [*command, "--top-k", "1", "--probabilities", "--json"])
    assert done.exit_code == 0, done.output
    (row,) = written(target)
    assert row["mood_top_1"] == row["mood_prediction"]
    assert json.loads(row["same_probabilities"]).keys() == {"no", "yes"}
    assert [name for name in row if name.startswith("near")] == ["near_prediction"]


@pytest.mark.parametrize(
    ("task", "settings", "said"),
    [
        ("near", {"top_k": 2}, "'near' answers with a score"),
        ("mood", {"top_k": 0}, "0 is no number of labels"),
        ("mood", {"probabilities": "yaml"}, "'yaml' is none of False, True, 'json'"),
        ("near", {"least_certain": 3}, "name one task that answers with labels"),
        (["mood", "same"], {"least_certain": 3}, "name one task"),
        ("mood", {"least_certain": 0}, "0 is no number of rows"),
    ],
)
def test_what_a_task_cannot_tell_is_refused_before_anything_is_written(
    model: trivium.Predictor, tmp_path: Path, task: Any, settings: dict[str, Any], said: str
) -> None:
    source = tmp_path / "in.csv"
    write_table(source, ["text", "first", "second"], [["good cat", "red", "blue"]])
    with pytest.raises(RecipeError, match=said):
        trivium.predict_file(model, task, source, tmp_path / "out.csv", **settings)
    assert not (tmp_path / "out.csv").exists()


def test_how_probabilities_are_written_needs_them(run: Path) -> None:
    done = CliRunner().invoke(
        app, ["predict", str(run), "--task", "mood", "--file", "x.csv", "--json"]
    )
    assert done.exit_code == 2
    assert "give both" in done.output
