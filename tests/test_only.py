"""A recipe without some of its tasks: what is left says nothing of the others."""

from typing import Any

import pytest

from trivium.errors import RecipeError
from trivium.recipe import Recipe, parse_recipe
from trivium.recipe.only import only_tasks

MOOD = {"kind": "classification", "text": "a", "label": "y", "labels": ["bad", "good"]}
NEAR = {"kind": "regression", "text": ["a", "b"], "label": "y", "range": [0, 5]}
FILES = {"train": "train.csv", "dev": "dev.csv"}


def recipe(*stages: dict[str, Any], **settings: Any) -> Recipe:
    """Of the tasks mood, topic and near, and words of mood and near."""
    tasks = {"mood": MOOD | FILES, "topic": MOOD | FILES, "near": NEAR | FILES}
    words = {"kind": "mlm", "of": ["mood", "near"]}
    return parse_recipe({"tasks": tasks | {"words": words}, "stages": list(stages), **settings})


def both(**settings: Any) -> dict[str, Any]:
    return {"name": "both", "tasks": ["mood", "near"], **settings}


def test_one_task_is_left_with_its_own_settings_as_they_were() -> None:
    shared = recipe(both(epochs=2, lr=1e-4), seed=3, encoder="some/where")
    alone = only_tasks(shared, ["near"])
    assert list(alone.tasks) == ["near"]
    assert alone.tasks["near"] == shared.tasks["near"]
    assert (alone.seed, alone.encoder) == (3, "some/where")
    assert alone.stages[0] == shared.stages[0].model_copy(update={"tasks": ("near",)})


def test_all_tasks_that_answer_are_the_recipe_itself_where_it_has_no_others() -> None:
    shared = parse_recipe({"tasks": {"mood": MOOD, "near": NEAR}, "stages": [both()]})
    assert only_tasks(shared, ["mood", "near"]) == shared


def test_what_stages_say_of_other_tasks_goes_with_them() -> None:
    stage = both(
        batch_size={"mood": 8, "near": 16},
        rows_per_epoch={"mood": 100, "near": 50},
        weights={"mood": 2.0},
        reference="mood",
        select="mood",
    )
    left = only_tasks(recipe(stage), ["near"]).stages[0]
    assert (left.batch_size, left.rows_per_epoch, left.weights) == ({"near": 16}, {"near": 50}, {})
    assert (left.reference, left.select) == (None, None)


def test_what_stages_say_of_tasks_whose_texts_are_borrowed_goes_as_well() -> None:
    stage = {"tasks": ["mood", "words"], "weights": {"mood": 2.0, "words": 0.5}}
    left = only_tasks(recipe(stage | {"batch_size": {"mood": 8, "words": 4}}), ["words"])
    assert "mood" in left.tasks
    assert (left.stages[0].weights, left.stages[0].batch_size) == ({"words": 0.5}, {"words": 4})


def test_rates_of_other_heads_go_with_them() -> None:
    rates = both(lr={"encoder": 1e-5, "heads": {"mood": 1e-2, "near": 1e-3}})
    assert only_tasks(recipe(rates), ["near"]).stages[0].lr.heads == {"near": 1e-3}


def test_a_size_that_was_said_of_another_task_only_is_the_default() -> None:
    left = only_tasks(recipe(both(batch_size={"mood": 8})), ["near"]).stages[0]
    assert left.size("near") == recipe(both(batch_size={"mood": 8})).stages[0].size("near") == 32


def test_one_task_has_nothing_to_combine_and_two_still_have() -> None:
    three = {"name": "all", "tasks": ["mood", "topic", "near"], "sampler": "joint"}
    shared = recipe(three | {"combiner": "pcgrad", "conflicts_every": 5})
    one, two = (only_tasks(shared, names).stages[0] for names in (["near"], ["mood", "near"]))
    assert (one.combiner.kind, one.conflicts_every) == ("sum", None)
    assert (two.combiner.kind, two.conflicts_every) == ("pcgrad", 5)


def test_stages_without_the_task_are_left_out_and_the_first_one_has_no_guard() -> None:
    before = {"name": "before", "tasks": ["mood"]}
    after = {"name": "after", "tasks": ["near"], "guard": 0.9}
    last = both(guard={"mood": 0.9, "near": 0.8})
    left = only_tasks(recipe(before, after, last), ["near"])
    assert [stage.name for stage in left.stages] == ["after", "both"]
    assert left.stages[0].guard is None
    assert isinstance(left.stages[1].guard, dict)
    assert list(left.stages[1].guard) == ["near"]


def test_a_guard_by_a_stage_that_is_left_out_is_by_the_one_before() -> None:
    first, second = {"name": "topics", "tasks": ["topic"]}, {"name": "first", "tasks": ["near"]}
    last = both(name="last", guard=0.9, guard_from="topics")
    kept = both(name="last", guard=0.9, guard_from="first")
    assert only_tasks(recipe(first, second, last), ["near"]).stages[-1].guard_from is None
    assert only_tasks(recipe(first, second, kept), ["near"]).stages[-1].guard_from == "first"


def test_a_guard_of_other_tasks_only_is_none() -> None:
    left = only_tasks(recipe(both(), both(name="again", guard={"mood": 0.9})), ["near"])
    assert left.stages[1].guard is None


def test_adapters_and_penalties_of_other_tasks_only_go_with_them() -> None:
    penalties = [{"kind": "rdrop", "weight": {"mood": 1.0}}, {"kind": "smart", "weight": 2.0}]
    sides = [{"kind": "pals", "tasks": ["mood", "near"]}, {"kind": "houlsby", "tasks": ["mood"]}]
    left = only_tasks(recipe(both(regularizers=penalties), adapters=sides), ["near"])
    assert [(each.kind, each.tasks) for each in left.adapters] == [("pals", ("near",))]
    assert [each.kind for each in left.stages[0].regularizers] == ["smart"]


def test_texts_that_a_task_borrows_come_along_and_are_not_trained() -> None:
    words = {"name": "words", "tasks": ["words"]}
    left = only_tasks(recipe(words, both(name="both")), ["words", "mood"])
    assert set(left.tasks) == {"mood", "near", "words"}
    assert left.tasks["near"].auxiliary
    assert not left.tasks["mood"].auxiliary
    assert [stage.tasks for stage in left.stages] == [("words",), ("mood",)]


def test_a_stage_of_all_tasks_trains_those_that_are_left() -> None:
    left = only_tasks(recipe({"name": "all"}), ["mood", "topic"])
    assert left.stages[0].tasks == ("mood", "topic")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["moood"], "no such task; did you mean 'mood'"),
        ([], "name a task of the recipe"),
        (["topic"], "no stage of the recipe trains that"),
    ],
)
def test_names_that_leave_nothing_are_refused(names: list[str], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        only_tasks(recipe(both()), names)
