"""What loading data puts into a recipe, and what scoring makes of labels of every kind."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from trivium.answering.reading import Reading, Texts
from trivium.errors import RecipeError
from trivium.parts.tasks import Classification, Labelled, Multilabel, Ordinal
from trivium.recipe import Recipe, parse_recipe
from trivium.recipe.dumping import dump_recipe
from trivium.recipe.plain_yaml import read_yaml
from trivium.run.folder.predictions import write_predictions
from trivium.run.predictor.model import ModelPredictor
from trivium.run.predictor.scoring import evaluate_splits
from trivium.run.rows.load import load_data

TABLE = """\
text,topic,stars,tags
one,b,2,"x, y"
two,a,10,
three,b,1,y
four,b,2.0,z
"""


def recipe(folder: Path, table: str = TABLE, **settings: Any) -> Recipe:
    (folder / "t.csv").write_text(table)
    task = {"text": "text", "train": "t.csv", "dev": "t.csv"}
    tasks = {
        "topic": {"kind": "classification", "label": "topic"},
        "stars": {"kind": "ordinal", "label": "stars"},
        "tags": {"kind": "multilabel", "label": "tags", "empty_cell": "none_apply"},
    }
    chosen = {name: task | values | settings for name, values in tasks.items()}
    return parse_recipe({"data": str(folder), "tasks": chosen})


def test_labels_are_found_by_kind(tmp_path: Path) -> None:
    found, data = load_data(recipe(tmp_path))
    topic, stars, tags = (found.tasks[name] for name in ("topic", "stars", "tags"))
    assert isinstance(topic, Classification)
    assert isinstance(stars, Ordinal)
    assert isinstance(tags, Multilabel)
    assert topic.names == ["a", "b"]
    assert stars.names == ["1", "2", "10"]
    assert tags.names == ["x", "y", "z"]
    targets = {n: [e.target for e in data[n]["train"].examples] for n in found.tasks}
    assert targets == {
        "topic": [1, 0, 1, 1],
        "stars": [1, 2, 0, 1],
        "tags": [(0, 1), (), (1,), (2,)],
    }


def test_the_saved_recipe_holds_weights_as_numbers_and_loads_the_same_again(tmp_path: Path) -> None:
    found, _ = load_data(recipe(tmp_path, class_weights="balanced"))
    weights = {n: t.class_weights for n, t in found.tasks.items() if isinstance(t, Labelled)}
    assert weights == {
        "topic": {"a": 4 / (2 * 1), "b": 4 / (2 * 3)},
        "stars": {"1": 4 / (3 * 1), "2": 4 / (3 * 2), "10": 4 / (3 * 1)},
        "tags": {"x": 3 / 1, "y": 2 / 2, "z": 3 / 1},
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(dump_recipe(found))
    again = parse_recipe(read_yaml(path))
    assert again == found
    assert load_data(again)[0] == found


def test_rows_that_are_left_out_weigh_nothing(tmp_path: Path) -> None:
    table = TABLE + " ,b,1,x\nsix,,1,x\n"
    found, data = load_data(
        recipe(tmp_path, table, class_weights="balanced", bad_rows="skip", missing_labels="allow")
    )
    topic = found.tasks["topic"]
    assert isinstance(topic, Classification)
    assert len(data["topic"]["train"].examples) == 4
    assert topic.class_weights == {"a": 2, "b": 4 / 6}


@pytest.mark.parametrize(
    ("table", "settings", "said"),
    [
        (
            TABLE.replace(",10,", ",ten,"),
            {},
            "task 'stars': t.csv: column 'stars' holds 'ten', which is no number, so nothing tells "
            "the order of its labels. Say `labels`, the lowest first.",
        ),
        (
            TABLE.replace(",a,", ",b,"),
            {},
            "task 'topic': t.csv: column 'topic' holds 1 label; this kind of task needs "
            "2 to 5,000. Where rows with others are still to come, list all `labels` in the "
            "recipe's task.",
        ),
        (
            TABLE,
            {"class_weights": {"c": 2}},
            "task 'topic': t.csv: class_weights: no label 'c' in the column; there are 'a', 'b'",
        ),
        (
            TABLE,
            {"class_weights": "balanced", "labels": ["a", "b", "c"]},
            "task 'topic': t.csv: class_weights: balanced: no training row has the label 'c'. Take "
            "it out of `labels`, or give the weights as numbers.",
        ),
    ],
    ids=["words without order", "one label", "weight of no label", "label of no row"],
)
def test_a_column_that_does_not_fit_is_refused_by_task_and_file(
    tmp_path: Path, table: str, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        load_data(recipe(tmp_path, table, **settings))
    assert str(caught.value).replace(f"{tmp_path}/", "") == said


class Knowing(ModelPredictor):
    """Answers every row of the table with what stands in it."""

    def __init__(self, found: Recipe) -> None:
        self.tasks = found.tasks
        self.right = {
            "topic": torch.eye(2)[[1, 0, 1, 1]],
            "stars": torch.eye(3)[[1, 2, 0, 1]],
            "tags": torch.tensor([[1.0, 1, 0], [0, 0, 0], [0, 1, 0], [0, 0, 1]]),
        }

    readers = ()

    def readouts(self, asks: Mapping[str, Sequence[Texts]]) -> dict[str, Tensor]:
        return {task: self.right[task][: len(rows)] for task, rows in asks.items()}

    def said(self, readings: Sequence[Reading]) -> dict[str, Tensor]:
        raise AssertionError(f"knows without reading {readings}")

    @property
    def precision(self) -> str:
        return "fp32"


def test_right_answers_score_1_and_stand_beside_the_true_labels(tmp_path: Path) -> None:
    found, data = load_data(recipe(tmp_path))
    predictor = Knowing(found)
    scores = evaluate_splits(predictor, data)
    for name, of_task in scores.items():
        assert of_task["dev"].pop("rows") == 4
        assert all(value == pytest.approx(1) for value in of_task["dev"].values()), name
    written = {}
    for name, task in found.tasks.items():
        path = tmp_path / "out" / f"{name}.csv"
        write_predictions(path, task, predictor.right[name], data[name]["dev"])
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["label"] for row in rows] == [row["prediction"] for row in rows]
        written[name] = [row["label"] for row in rows]
    assert written == {
        "topic": ["b", "a", "b", "b"],
        "stars": ["2", "10", "1", "2"],
        "tags": ["x,y", "", "y", "z"],
    }
