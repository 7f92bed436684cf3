"""What a report reached with a search's settings stands beside the trials that have them."""

from typing import Any

import pytest

from tests.support.runs import recipe_of
from trivium.apps.tune.reported import beside
from trivium.apps.tune.rows import Overview, Row
from trivium.errors import RecipeError
from trivium.recipe import load_recipe_file
from trivium.recipe.budget import Reported
from trivium.run.folder.objectives import Objective

OWN: dict[str, Any] = {"stages.0.lr": 1e-5, "seed": 11711}
REPORTED = Reported.model_validate(
    {
        "source": "R4, table 1",
        "encoder": "bert-base-uncased",
        "scores": {"mood": 0.525},
        "trials": [
            {"set": {"seed": 100}, "scores": {"mood": 0.528}},
            {"set": {"stages.0.lr": 0.001}, "scores": {"mood": 0.262}},
        ],
    }
)
TASKS = recipe_of(["mood"]).tasks


def row(number: int, state: str, value: float | None, **settings: Any) -> Row:
    values = () if value is None else (value,)
    return Row(number, state, values, OWN | settings, {}, {}, {}, "", "")


def test_every_reported_row_stands_beside_the_trial_with_its_settings() -> None:
    trials = [row(0, "done", 0.5), row(1, "failed", None, seed=100), row(2, "done", 0.4, seed=100)]
    objective = Objective("mood", "mood", "accuracy")
    view = Overview(trials, [objective], [0], 3, {"stages.0.lr": "lr", "seed": "seed"})
    _, note, table = beside(view, REPORTED, OWN, TASKS)
    assert note == "R4, table 1; its encoder: bert-base-uncased."
    cells = [[c.strip() for c in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    assert cells == [
        ["as the recipe has it", "0.525", "0.5000", "0"],
        ["seed 100", "0.528", "0.4000", "2"],
        ["lr 0.001", "0.262", "–", "–"],
    ]
    assert beside(view, None, OWN, TASKS) == []


def test_reported_numbers_stand_under_the_main_metric_whatever_is_searched_for() -> None:
    done = Row(
        0, "done", (0.75,), OWN, {}, {"mood.accuracy": 0.5, "mood.macro_f1": 0.75}, {}, "", ""
    )
    other = row(1, "pruned", 0.7, seed=100)  # nobody knows its accuracy
    objective = Objective("mood.macro_f1", "mood", "macro_f1")
    view = Overview([done, other], [objective], [0], 3, {"stages.0.lr": "lr", "seed": "seed"})
    _, _, table = beside(view, REPORTED, OWN, TASKS)
    cells = [[c.strip() for c in line.split("|")[1:-1]] for line in table.splitlines()]
    assert cells[0] == ["settings", "mood accuracy reported", "here", "trial"]
    assert [line[2] for line in cells[2:]] == ["0.5000", "–", "–"]


def test_a_reported_trial_must_be_one_of_the_search() -> None:
    task = {"kind": "classification", "text": "a", "label": "y", "labels": ["x", "y"]}
    trial = {"set": {"seeds": 3}, "scores": {"mood": 0.5}}
    reported = REPORTED.model_dump() | {"trials": [trial]}
    search = {"space": {"seed": [0, 1]}}
    values = {"tasks": {"mood": task}, "reported": reported, "search": search}
    with pytest.raises(RecipeError, match="the search has no 'seeds'; did you mean 'seed'"):
        load_recipe_file(values)
