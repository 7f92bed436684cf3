"""Tasks: what a row means to them, what they refuse, and what they answer."""

import math
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from trivium.parts.tasks import (
    AnyTask,
    Classification,
    MissingLabelError,
    Regression,
    RowError,
    Task,
)
from trivium.types import Row


def classification(**settings: Any) -> Classification:
    given = {"name": "mood", "text": "a", "label": "y", "labels": ["bad", "good"]}
    return Classification.model_validate(given | settings)


def regression(**settings: Any) -> Regression:
    given = {"name": "sim", "text": ["a", "b"], "label": "y", "range": [0, 5]}
    return Regression.model_validate(given | settings)


def row(**cells: str) -> Row:
    return Row({"a": "some text", "b": "more", "y": "good"} | cells, line=7)


def refusal(task: Task, **cells: str) -> str:
    with pytest.raises(RowError) as caught:
        task.example(row(**cells))
    return str(caught.value)


def misfit(make: Any, **settings: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        make(**settings)
    return str(caught.value)


# --- labels ------------------------------------------------------------------------------------


def test_a_list_of_labels_names_them_as_they_stand_in_the_column() -> None:
    task = classification(labels=["bad", "good", "odd"])
    assert (task.names, task.outputs) == (["bad", "good", "odd"], 3)
    assert [task.target(cell) for cell in ("good", " bad ", "odd")] == [1, 0, 2]


def test_a_table_of_labels_gives_them_names_in_its_order() -> None:
    task = classification(labels={2: "high", 0: "low", 1: "middle"})
    assert task.names == ["high", "low", "middle"]
    assert [task.target(cell) for cell in "012"] == [1, 2, 0]


@pytest.mark.parametrize("spelling", ["1", "1.0", " 1 ", "+1", "01", "1e0", "1.000"])
def test_a_number_is_one_label_however_it_is_written(spelling: str) -> None:
    for labels in ([0, 1], ["0", "1"], [0.0, 1.0], {0: "no", 1: "yes"}):
        assert classification(labels=labels).target(spelling) == 1


@pytest.mark.parametrize("cell", ["1_0", "nan", "inf", "0x1", "1,0", "", "one", "True", "1.5"])
def test_other_cells_are_no_numbers(cell: str) -> None:
    task = classification(labels=[1, 10, "NaN", "infinity"])
    with pytest.raises(RowError, match="not one of its labels"):
        task.target(cell)


def test_long_numbers_stay_apart() -> None:
    task = classification(labels=["12345678901234567890", "12345678901234567891"])
    assert task.target("12345678901234567891") == 1


def test_words_keep_their_case() -> None:
    task = classification(labels=["Yes", "yes"])
    assert [task.target("Yes"), task.target("yes")] == [0, 1]


def test_booleans_stand_in_a_table_as_true_and_false() -> None:
    assert classification(labels=[False, True]).names == ["false", "true"]


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["good"], "at least two labels, found 1"),
        ([], "at least two labels, found 0"),
        (["good", "good"], "names a label twice"),
        ([1, "1"], "names a label twice"),
        ([1, 1.0], "the same number twice"),
        (["good", "good "], "names a label twice, but for the space around it"),
        ({0: "", 1: "good"}, "gives '0' an empty name, which is no answer; name it, or leave its"),
        ({0: "same", 1: "same"}, "gives the same name to two labels"),
        (["good", None], "holds an empty label"),
        ({0: "bad", 1: None}, "holds an empty label"),
        ("good", "dictionary"),
    ],
)
def test_labels_that_cannot_be_told_apart_are_refused(labels: object, said: str) -> None:
    assert said in misfit(classification, labels=labels)


def test_an_unknown_label_names_column_value_labels_and_remedy() -> None:
    assert refusal(classification(), y="meh") == (
        "column 'y' holds 'meh', which is not one of its labels ['bad', 'good']. "
        "Add it to `labels`, fix the row, or set `bad_rows: skip`"
    )
    many = refusal(classification(labels=[str(n) for n in range(40)]), y="meh")
    assert "'11', … 40 in all]" in many
    assert "'12'" not in many


# --- rows --------------------------------------------------------------------------------------


def test_an_example_holds_texts_target_and_line() -> None:
    one = classification().example(row())
    assert (one.texts, one.target, one.line) == (("some text",), 1, 7)
    pair = regression().example(row(y="2.5"))
    assert (pair.texts, pair.target) == (("some text", "more"), 2.5)


def test_texts_are_kept_to_the_character() -> None:
    assert classification().example(row(a="  NA\t\n")).texts == ("  NA\t\n",)


@pytest.mark.parametrize("empty", ["", "  ", "\t\n"])
def test_a_missing_label_is_refused_unless_allowed(empty: str) -> None:
    said = refusal(classification(), y=empty)
    assert said.startswith("column 'y' is empty. Fill it in, or set `missing_labels: allow`")
    assert "`bad_rows: skip`" in said
    with pytest.raises(MissingLabelError, match="has no label"):
        classification(missing_labels="allow").example(row(y=empty))


@pytest.mark.parametrize("column", ["a", "b"])
def test_an_empty_text_is_refused_by_its_column(column: str) -> None:
    said = refusal(regression(), **{column: " ", "y": "1"})
    assert said == f"column {column!r} is empty. Fill it in, or set `bad_rows: skip`"


@pytest.mark.parametrize("cell", ["0", "5", "5.0", "2.5e0", " 3 ", "-0"])
def test_scores_within_the_range_are_taken(cell: str) -> None:
    assert regression().target(cell) == float(cell)


@pytest.mark.parametrize("cell", ["5.01", "-0.1", "nan", "inf", "-inf", "NaN", "1e99"])
def test_scores_outside_the_range_are_refused(cell: str) -> None:
    assert refusal(regression(), y=cell) == (
        f"column 'y' holds {cell!r}, outside its range [0, 5]. "
        "Widen `range`, fix the row, or set `bad_rows: skip`"
    )


@pytest.mark.parametrize("cell", ["high", "1,5", "1_0", "0x1", "1 2"])
def test_scores_that_are_no_numbers_are_refused(cell: str) -> None:
    why = "not a number here: the point is a dot, as in 1.5" if cell == "1,5" else "not a number"
    assert refusal(regression(), y=cell) == (
        f"column 'y' holds {cell!r}, which is {why}. Fix the row, or set `bad_rows: skip`"
    )


@pytest.mark.parametrize("wrong", [[5, 0], [1, 1]])
def test_a_range_must_rise(wrong: list[float]) -> None:
    assert "must be two numbers, the lower one first" in misfit(regression, range=wrong)


@pytest.mark.parametrize("wrong", [[0, math.inf], [math.nan, 1]])
def test_a_range_ends_somewhere(wrong: list[float]) -> None:
    assert "finite number" in misfit(regression, range=wrong)


# --- heads -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "kind", "sequences"),
    [
        (classification(), "linear", 1),
        (classification(text=["a", "b"]), "concat", 2),
        (classification(text=["a", "b"], encode="joint"), "linear", 1),
        (regression(), "cosine", 2),
        (regression(encode="joint"), "linear", 1),
        (regression(text="a"), "linear", 1),
        (regression(head="concat"), "concat", 2),
        (classification(head={"kind": "linear", "pooling": "cls"}), "linear", 1),
    ],
)
def test_every_task_has_a_head_that_fits(task: Task, kind: str, sequences: int) -> None:
    assert (task.resolved_head.kind, task.sequences) == (kind, sequences)
    output_BK = task.build_head(8).decide(torch.randn(3, sequences, 8))
    assert output_BK.shape == (3, task.outputs)


@pytest.mark.parametrize(
    ("make", "settings", "said"),
    [
        (
            classification,
            {"head": "concat"},
            "concat does not fit one encoded sequence a row; use linear",
        ),
        (
            regression,
            {"head": "linear"},
            "linear does not fit two texts, encoded apart a row; "
            "use concat, cosine, or `encode: joint`",
        ),
        (
            regression,
            {"head": "cosine", "encode": "joint"},
            "cosine does not fit one encoded sequence a row; use linear, or `encode: separate`",
        ),
        (
            classification,
            {"text": ["a", "b"], "head": "cosine"},
            "cosine gives 1 output, but this task needs 2; use concat",
        ),
        (
            classification,
            {"text": ["a", "b"], "head": "cosine", "labels": None},
            "cosine gives 1 output, but this task needs one per label; use concat",
        ),
    ],
)
def test_a_head_that_does_not_fit_is_refused_with_one_that_does(
    make: Any, settings: dict[str, Any], said: str
) -> None:
    assert f"head: {said}" in misfit(make, **settings)


# --- losses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "kind"),
    [
        (classification(), "cross_entropy"),
        (classification(loss="focal"), "focal"),
        (classification(loss={"kind": "cross_entropy", "label_smoothing": 0.1}), "cross_entropy"),
        (regression(), "mse"),
        (regression(loss="cosent"), "cosent"),
    ],
)
def test_every_task_has_a_loss_that_fits(task: Task, kind: str) -> None:
    assert task.resolved_loss.kind == kind
    output_BK = torch.randn(3, task.outputs, requires_grad=True)
    loss = task.compute_loss(output_BK, task.targets([0, 1, 1]))
    torch.autograd.backward(loss)
    assert loss.shape == ()
    assert output_BK.grad is not None


@pytest.mark.parametrize(
    ("make", "loss", "said"),
    [
        (
            classification,
            "mse",
            "loss: mse needs a task that answers with a score, but this one answers with labels; "
            "use cross_entropy, focal",
        ),
        (
            regression,
            {"kind": "focal", "gamma": 1},
            "loss: focal needs a task that answers with labels, but this one answers with a score; "
            "use mse, cosent",
        ),
        (regression, "hinge", "does not match any of the expected tags"),
        (classification, {"kind": "focal", "gama": 1}, "Extra inputs are not permitted"),
    ],
)
def test_a_loss_that_does_not_fit_is_refused_with_those_that_do(
    make: Any, loss: object, said: str
) -> None:
    assert said in misfit(make, loss=loss)


def test_a_task_learns_by_the_loss_it_names() -> None:
    output_BK = torch.tensor([[0.0, math.log(3)]])  # probability 1/4 of the right label
    focal = classification(loss={"kind": "focal", "gamma": 1})
    loss = focal.compute_loss(output_BK, focal.targets([0]))
    assert loss.item() == pytest.approx(3 / 4 * math.log(4))
    # On the unit scale the scores differ by 0.5 the wrong way round.
    order = regression(loss={"kind": "cosent", "scale": 2}, range=[1, 5])
    loss = order.compute_loss(torch.tensor([[0.25], [0.75]]), order.targets([5, 1]))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(2 * 0.5)))


# --- answers -----------------------------------------------------------------------------------


def test_classification_answers_with_names_and_probabilities() -> None:
    task = classification(labels={0: "bad", 1: "good"})
    readout_BK = task.readout(torch.tensor([[2.0, 2.0 - math.log(3)], [0.0, math.log(9)]]))
    torch.testing.assert_close(readout_BK, torch.tensor([[0.75, 0.25], [0.1, 0.9]]))
    assert task.answers(readout_BK) == ["bad", "good"]
    plain = task.columns(readout_BK, detailed=False)
    assert plain == {"prediction": ["bad", "good"], "confidence": pytest.approx([0.75, 0.9])}
    detailed = task.columns(readout_BK, detailed=True)
    assert list(detailed) == ["prediction", "confidence", "probability_bad", "probability_good"]
    assert detailed["probability_good"] == pytest.approx([0.25, 0.9])


def test_classification_learns_by_cross_entropy_and_is_judged_by_accuracy() -> None:
    task = classification()
    target_B = task.targets([1, 0])
    assert target_B.dtype == torch.int64
    loss = task.compute_loss(torch.tensor([[0.0, 0.0], [0.0, math.log(3)]]), target_B)
    assert loss.item() == pytest.approx((math.log(2) + math.log(4)) / 2)
    scores = task.scores(torch.tensor([[0.2, 0.8], [0.1, 0.9]]), target_B)
    assert set(scores) == {"accuracy", "macro_f1", "f1"}
    assert task.leaderboard(scores) == scores["accuracy"] == 0.5


def test_regression_answers_on_its_own_scale_and_is_clipped_to_it() -> None:
    task = regression(range=[-1, 3])
    readout_BK = task.readout(torch.tensor([[0.0], [0.5], [1.0], [1.2], [-0.3]]))
    assert task.answers(readout_BK) == [-1, 1, 3, 3, -1]
    assert task.columns(readout_BK, detailed=True) == {"prediction": [-1, 1, 3, 3, -1]}
    assert task.answers(torch.tensor([[1 / 3]])) == [0.333333]


def test_regression_learns_by_squared_error_on_the_unit_scale() -> None:
    task = regression(range=[1, 5])
    target_B = task.targets([1, 5])
    assert target_B.dtype == torch.float32
    assert task.compute_loss(torch.tensor([[0.5], [1.0]]), target_B).item() == pytest.approx(0.125)
    unit_B = (target_B - 1) / 4
    torch.testing.assert_close(task.readout(unit_B[:, None]).squeeze(1), target_B)


@pytest.mark.parametrize(("order", "r"), [([0.0, 2.0, 4.0], 1), ([4.0, 2.0, 0.0], -1)])
def test_the_leaderboard_maps_a_correlation_to_0_to_1(order: list[float], r: int) -> None:
    task = regression()
    scores = task.scores(torch.tensor(order)[:, None], torch.tensor([0.0, 2.0, 4.0]))
    assert scores == {"pearson": pytest.approx(r), "spearman": pytest.approx(r, abs=1e-5)}
    assert task.leaderboard(scores) == pytest.approx((r + 1) / 2)
    assert task.leaderboard({"pearson": 0.5, "spearman": 0.0}) == 0.75


@pytest.mark.parametrize(
    ("task", "targets", "answers", "summary"),
    [
        (
            classification(labels={0: "bad", 1: "good", 2: "odd"}),
            [1, 0, 1],
            ["good", "bad", "good"],
            ["bad 1", "good 2", "odd 0"],
        ),
        (regression(), [1.5, 5.0], [1.5, 5.0], ["mean 3.25", "from 1.5 to 5"]),
    ],
)
def test_targets_are_told_as_answers_and_in_sum(
    task: Task, targets: list[float], answers: list[Any], summary: list[str]
) -> None:
    assert [task.answer_of(target) for target in targets] == answers
    assert task.summary(targets) == summary


def test_of_many_labels_the_first_eight_are_counted_aloud() -> None:
    task = classification(labels=[f"l{n}" for n in range(1, 13)])
    assert task.summary([0] * 1200)[:2] == ["l1 1,200", "l2 0"]
    assert task.summary([0])[-2:] == ["l8 0", "… 12 labels"]


def test_tasks_can_be_hashed_copied_and_compared() -> None:
    task = classification()
    task.target("good")
    assert task == classification()
    assert TypeAdapter[Task](AnyTask).validate_python(task.model_dump()) == task
