"""Several labels a row: what a cell says, what is learned from it, and what is answered."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from sklearn.utils.class_weight import compute_class_weight

from trivium.parts.tasks import AnyTask, MissingLabelError, Multilabel, RowError, Task
from trivium.types import Row


def multilabel(**settings: Any) -> Multilabel:
    given = {"name": "tags", "text": "a", "label": "y", "labels": ["red", "green", "blue"]}
    return Multilabel.model_validate(given | settings)


def row(cell: str) -> Row:
    return Row({"a": "some text", "y": cell}, line=7)


def refusal(task: Task, cell: str) -> str:
    with pytest.raises(RowError) as caught:
        task.example(row(cell))
    return str(caught.value)


def misfit(**settings: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        multilabel(**settings)
    return str(caught.value)


# --- rows --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "target"),
    [
        ("red", (0,)),
        ("blue,red", (0, 2)),
        (" green , red ", (0, 1)),
        ("red,red", (0,)),
        ("blue,green,red", (0, 1, 2)),
    ],
)
def test_a_cell_holds_labels_in_any_order(cell: str, target: tuple[int, ...]) -> None:
    task = multilabel()
    assert task.example(row(cell)).target == target
    assert task.answer_of(target) == ",".join(task.names[index] for index in target)


def test_another_separator_stands_in_cells_and_answers() -> None:
    task = multilabel(separator=" | ", labels={"a,b": "x", "1.0": "one"})
    assert task.target("1 | a,b") == (0, 1)
    assert task.answer_of((0, 1)) == "x | one"


@pytest.mark.parametrize(
    ("cell", "unknown"), [("red,pink", "pink"), ("red;blue", "red;blue"), ("red,,blue", "")]
)
def test_an_unknown_label_is_named(cell: str, unknown: str) -> None:
    assert refusal(multilabel(), cell) == (
        f"column 'y' holds {unknown!r}, which is not one of its labels ['red', 'green', 'blue']. "
        "Add it to `labels`, fix the row, or set `bad_rows: skip`"
    )


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        ('["red", "blue"]', ["red", "blue"]),
        ("['red', 'blue']", ["red", "blue"]),
        (" ['red'] ", ["red"]),
        ("[1, 2.50, true]", ["1", "2.50", "true"]),
        ("[True, 7]", ["true", "7"]),
        ('["a,b"]', ["a,b"]),
        ("[]", []),
        (r"['\d']", [r"\d"]),
        ("[red, blue]", ["[red", " blue]"]),
        ("[['red']]", ["[['red']]"]),
        ("[null]", ["[null]"]),
        ("[" * 5000 + "]" * 5000, ["[" * 5000 + "]" * 5000]),
    ],
)
def test_a_cell_may_be_a_list_in_json_or_python(cell: str, labels: list[str]) -> None:
    assert multilabel().labels_in(cell) == labels


def test_lists_are_targets_and_an_empty_one_is_an_empty_cell() -> None:
    assert multilabel().target("['blue', 'red']") == (0, 2)
    assert "is empty" in refusal(multilabel(), "[]")
    assert multilabel(empty_cell="none_apply").example(row(" [] ")).target == ()
    found = multilabel(labels=None).with_labels(["['b', 'a']", "[]", "c,a"])
    assert found.labels == {"a": "a", "b": "b", "c": "c"}
    with pytest.raises(ValueError, match="'a,b' holds the separator ','"):
        multilabel(labels=None).with_labels(["['a,b', 'c']"])


@pytest.mark.parametrize("cell", ["", "  "])
def test_an_empty_cell_is_missing_unless_it_is_told_to_mean_none(cell: str) -> None:
    assert refusal(multilabel(), cell) == (
        "column 'y' is empty. Fill it in, or set `missing_labels: allow` (such rows train the "
        "other tasks only) or `bad_rows: skip`, or `empty_cell: none_apply` if it says that no "
        "label applies"
    )
    with pytest.raises(MissingLabelError):
        multilabel(missing_labels="allow").example(row(cell))
    assert multilabel(empty_cell="none_apply").example(row(cell)).target == ()


def test_targets_are_a_mark_per_label() -> None:
    found = multilabel().targets([(0, 2), (), (1,)])
    assert found.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert found.dtype == torch.float32


@given(st.lists(st.sets(st.integers(0, 2)), max_size=9))
def test_targets_answers_and_cells_say_the_same(sets: list[set[int]]) -> None:
    task = multilabel(empty_cell="none_apply")
    targets = [tuple(sorted(each)) for each in sets]
    answers = [task.answer_of(target) for target in targets]
    assert [task.target(str(answer)) for answer in answers] == targets
    assert task.answers(task.targets(targets)) == answers


# --- labels ------------------------------------------------------------------------------------


def test_labels_are_found_within_the_cells() -> None:
    task = multilabel(labels=None).with_labels(["b, a", "", "c", "a,"])
    assert task.labels == {"a": "a", "b": "b", "c": "c"}
    assert multilabel(labels=None).with_labels(["2,10", "1.0"]).names == ["1", "2", "10"]


def test_one_label_is_enough_and_none_is_not() -> None:
    assert multilabel(labels=["red"]).outputs == 1
    assert "needs at least one label, found 0" in misfit(labels=[])
    with pytest.raises(ValueError, match="0 different labels; this kind of task needs 1"):
        multilabel(labels=None).with_labels([",", ""])


@pytest.mark.parametrize("labels", [["a;b", "c"], {"a": "x;y", "c": "z"}])
def test_a_label_that_holds_the_separator_is_refused(labels: object) -> None:
    assert "holds the separator ';'; rename it, or set `separator`" in misfit(
        labels=labels, separator=";"
    )


# --- learning ----------------------------------------------------------------------------------


def test_it_learns_by_binary_cross_entropy_with_weights_of_what_applies() -> None:
    output_BK = torch.randn(4, 3)
    target_BK = multilabel().targets([(0, 2), (), (1,), (0, 1, 2)])
    wanted = F.binary_cross_entropy_with_logits(output_BK, target_BK)
    torch.testing.assert_close(multilabel().compute_loss(output_BK, target_BK), wanted)
    weighted = multilabel(class_weights={"green": 3, "blue": 0.5})
    wanted = F.binary_cross_entropy_with_logits(
        output_BK, target_BK, pos_weight=torch.tensor([1, 3, 0.5])
    )
    torch.testing.assert_close(weighted.compute_loss(output_BK, target_BK), wanted)
    assert "loss: cosent needs a task that answers with a score" in misfit(loss="cosent")


def test_balanced_weights_are_scikit_learns_for_each_label() -> None:
    targets: list[tuple[int, ...]] = [(0,), (0, 1), (), (0, 2), (2,), (0,), (0, 2)]
    found = multilabel(class_weights="balanced").with_weights(targets)
    assert isinstance(found.class_weights, dict)
    for index, label in enumerate(found.names):
        applies = np.array([index in target for target in targets])
        never, always = compute_class_weight("balanced", classes=np.array([False, True]), y=applies)
        assert found.class_weights[label] == pytest.approx(always / never)


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        ([(0, 1), (0,), (1,)], "no training row has the label 'blue'"),
        ([(0, 2), (1, 2)], "every training row has the label 'blue'"),
    ],
)
def test_a_label_of_none_or_all_rows_has_no_balanced_weight(
    targets: list[tuple[int, ...]], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        multilabel(class_weights="balanced").with_weights(targets)


# --- answers -----------------------------------------------------------------------------------


def test_answers_are_the_labels_from_the_threshold_on() -> None:
    readout_BK = multilabel().readout(torch.tensor([[2.0, 0.0, -2.0], [-1.0, -1.0, -9.0]]))
    assert multilabel().answers(readout_BK) == ["red,green", ""]
    assert multilabel(threshold=0.6).answers(readout_BK) == ["red", ""]
    assert multilabel(threshold=0.2).answers(readout_BK) == ["red,green", "red,green"]


def test_columns_hold_the_answer_and_each_labels_probability() -> None:
    readout_BK = torch.tensor([[0.9, 0.5, 0.1]])
    assert multilabel().columns(readout_BK, detailed=False) == {"prediction": ["red,green"]}
    detailed = multilabel(labels={"r": "red", "g": "green", "b": "blue"}).columns(
        readout_BK, detailed=True
    )
    assert detailed == {
        "prediction": ["red,green"],
        "probability_red": [0.9],
        "probability_green": [0.5],
        "probability_blue": [0.1],
    }


def test_scores_go_by_the_threshold() -> None:
    readout_BK = torch.tensor([[0.9, 0.4, 0.1], [0.2, 0.7, 0.1]])
    target_BK = multilabel().targets([(0, 1), (1,)])
    scores = multilabel().scores(readout_BK, target_BK)
    assert scores == {
        "micro_f1": pytest.approx(4 / 5),
        "macro_f1": pytest.approx((1 + 2 / 3 + 0) / 3),
        "exact_match": 0.5,
    }
    assert multilabel().leaderboard(scores) == scores["micro_f1"]
    assert multilabel(threshold=0.4).scores(readout_BK, target_BK)["exact_match"] == 1


def test_the_summary_counts_labels_and_rows_without_any() -> None:
    assert multilabel().summary([(0, 1), (0,), ()]) == [
        "red 2", "green 1", "blue 0", "(no label applies) 1",
    ]  # fmt: skip


def test_pairs_and_other_heads_serve_too() -> None:
    task = multilabel(text=["a", "b"], head={"kind": "mlp", "depth": 2})
    assert task.build_head(8).decide(torch.randn(2, 2, 8)).shape == (2, 3)
    assert multilabel(text=["a", "b"]).resolved_head.kind == "concat"


def test_a_task_of_several_labels_is_read_back_as_it_was_saved() -> None:
    task = multilabel(separator="|", empty_cell="none_apply", threshold=0.3, loss="focal")
    assert TypeAdapter[Task](AnyTask).validate_json(task.model_dump_json()) == task


def test_relabelling_takes_a_label_out_of_a_cell_but_no_mistake() -> None:
    task = multilabel()
    words = {"red": "", "green": "blue"}
    assert task.relabelled("['red', 'blue']", words) == "blue"
    assert task.labels_in(task.relabelled("red,blue", {"red": "a,b"})) == ["a,b", "blue"]
    assert task.relabelled("red,blue", words) == "blue"
    assert task.relabelled("green,red", words) == "blue"
    assert task.relabelled("red", words) == ""
    assert task.relabelled("blue,,red", words) == "blue,"
