"""Labels and their weights: found in the training rows, named in recipes, used by the losses."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from sklearn.utils.class_weight import compute_class_weight

from trivium.parts.tasks import AnyTask, Classification, Ordinal, Task


def task(**settings: Any) -> Classification:
    given = {"name": "mood", "text": "a", "label": "y", "labels": ["bad", "good", "odd"]}
    return Classification.model_validate(given | settings)


def refusal(**settings: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        task(**settings)
    return str(caught.value)


# --- labels ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        (["b", " a", "", "b"], ["a", "b"]),
        (["10", "9", "1.0", "1"], ["1", "9", "10"]),
        (["-1", "0.5", "1e1"], ["-1", "0.5", "1e1"]),
        (["10", "9", "x"], ["10", "9", "x"]),
        (["02116", "2116", "10001"], ["02116", "2116", "10001"]),
        (["001", "01", "1", "1e0"], ["001", "01", "1", "1e0"]),
        (["1E2", "99"], ["99", "1E2"]),
        (["0.0", "1.0", "1"], ["0", "1"]),
        (["0.5", "1.0", "1.10"], ["0.5", "1", "1.10"]),
        (["1.0", "1", "1.0.1"], ["1", "1.0", "1.0.1"]),
        (["1.0", "01"], ["01", "1.0"]),
        (["-0.0", "0", "1"], ["0", "1"]),
    ],
)
def test_labels_are_found_sorted_and_spelt_as_in_the_file(
    cells: list[str], found: list[str]
) -> None:
    empty = task(labels=None)
    assert empty.looks_for_labels
    with_labels = empty.with_labels(cells)
    assert with_labels.labels == {label: label for label in found}
    assert not with_labels.looks_for_labels
    assert [with_labels.index(label) for label in found] == list(range(len(found)))


@pytest.mark.parametrize(
    ("cells", "count"),
    [(["a", "a"], "1 label"), ([f"l{n}" for n in range(5001)], "5,001 different labels")],
)
def test_a_column_that_holds_no_classes_is_refused(cells: list[str], count: str) -> None:
    with pytest.raises(ValueError, match="this kind of task") as caught:
        task(labels=None).with_labels(cells)
    assert str(caught.value) == (
        f"column 'y' holds {count}; this kind of task needs 2 to 5,000. "
        "Where rows with others are still to come, list all `labels` in the recipe's task."
    )


def test_a_cell_means_the_label_that_is_spelt_so_or_else_the_one_of_its_number() -> None:
    codes = task(labels=["02116", "2116", "90210"])
    assert [codes.index(cell) for cell in ("02116", "2116", " 90210 ", "090210")] == [0, 1, 2, 2]
    with pytest.raises(ValueError, match=r"holds .2116\.0., which is not one of its labels"):
        codes.index("2116.0")  # one of two
    assert codes.respelt(["02116", "090210", "90210 "]) == {"090210": "90210"}


def test_labels_that_are_the_same_number_survive_saving() -> None:
    found = task(labels=None, class_weights="balanced").with_labels(["01", "1", "001"])
    weighed = found.with_weights([0, 1, 2, 2])
    assert TypeAdapter[Task](AnyTask).validate_json(weighed.model_dump_json()) == weighed
    weight_K = weighed.weights(torch.zeros(()))
    assert weight_K is not None
    assert weight_K.tolist() == pytest.approx([4 / 3, 4 / 3, 2 / 3])


# --- weights -----------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 2), min_size=3, max_size=60).filter(lambda x: len(set(x)) == 3))
def test_balanced_weights_are_scikit_learns(labels: list[int]) -> None:
    found = task(class_weights="balanced").with_weights(labels)
    wanted = compute_class_weight("balanced", classes=np.arange(3), y=np.array(labels))
    assert isinstance(found.class_weights, dict)
    assert found.class_weights == pytest.approx(
        dict(zip(["bad", "good", "odd"], wanted, strict=True))
    )
    # Every label then weighs the same in all rows together.
    weight_K = found.weights(torch.zeros((), dtype=torch.float64))
    assert weight_K is not None
    sums = torch.zeros(3, dtype=torch.float64).index_add(0, torch.tensor(labels), weight_K[labels])
    torch.testing.assert_close(sums, torch.full((3,), len(labels) / 3, dtype=torch.float64))


def test_numbers_survive_saving_and_are_not_looked_for_again() -> None:
    balanced = task(class_weights="balanced", labels=[2, 0, 1.5]).with_weights([0, 1, 1, 2])
    assert balanced.class_weights == {"2": 4 / 3, "0": 2 / 3, "1.5": 4 / 3}
    saved = TypeAdapter[Task](AnyTask).validate_json(balanced.model_dump_json())
    assert saved == balanced
    assert saved.with_weights([0, 1, 2]) == balanced


def test_weights_are_named_as_in_the_column_and_others_are_1() -> None:
    numbered = task(labels={2: "high", 0: "low", 1: "middle"}, class_weights={1.0: 3, "0": 0.5})
    weight_K = numbered.weights(torch.zeros(()))
    assert weight_K is not None
    assert weight_K.tolist() == [1.0, 0.5, 3.0]
    assert task().weights(torch.zeros(())) is None


@pytest.mark.parametrize(
    "loss", ["cross_entropy", {"kind": "cross_entropy", "label_smoothing": 0.2}]
)
def test_the_weighted_mean_is_torchs(loss: object) -> None:
    weighted = task(loss=loss, class_weights={"bad": 0.25, "odd": 4})
    output_BK, target_B = torch.randn(8, 3), torch.tensor([0, 1, 2, 0, 1, 2, 2, 0])
    smoothing = loss["label_smoothing"] if isinstance(loss, dict) else 0.0
    wanted = F.cross_entropy(
        output_BK, target_B, torch.tensor([0.25, 1, 4]), label_smoothing=smoothing
    )
    assert torch.equal(weighted.compute_loss(output_BK, target_B), wanted)


@pytest.mark.parametrize("kind", [Classification, Ordinal])
def test_focal_loss_is_weighted_too(kind: type[Classification]) -> None:
    plain = kind.model_validate(task(loss="focal").model_dump(exclude={"kind"}))
    weighted = plain.model_copy(update={"class_weights": {"odd": 2.0}})
    output_BK = torch.randn(2, 3)
    each = [plain.compute_loss(output_BK[[i]], torch.tensor([i + 1])) for i in range(2)]
    found = weighted.compute_loss(output_BK, torch.tensor([1, 2]))
    torch.testing.assert_close(found, (each[0] + 2 * each[1]) / 3)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ("balance", "must be `balanced` or a table of label: weight, found 'balance'"),
        ([1, 2], "must be `balanced` or a table of label: weight, found [1, 2]"),
        ({"bad": 0}, "'bad' must be a number above 0, found 0"),
        ({"bad": -1.5}, "'bad' must be a number above 0, found -1.5"),
        ({"bad": "1"}, "'bad' must be a number above 0, found '1'"),
        ({"bad": True}, "'bad' must be a number above 0, found True"),
        ({"bad": float("inf")}, "'bad' must be a number above 0, found inf"),
        ({"bad": float("nan")}, "'bad' must be a number above 0, found nan"),
        ({1: 1, "1.0": 2}, "names a label twice"),
        ({"god": 1}, "class_weights: no label 'god' in the column; did you mean 'good'?"),
        ({None: 1}, "holds an empty label"),
        ({"bad": 1, " bad": 1}, "names a label twice"),
    ],
)
def test_weights_that_weigh_nothing_are_refused(weights: object, said: str) -> None:
    assert said in refusal(class_weights=weights)


def test_weights_of_labels_that_are_not_found_are_refused() -> None:
    waiting = task(labels=None, class_weights={"b": 2, "c": 1})
    with pytest.raises(ValueError, match="class_weights: no label 'c' in the column"):
        waiting.with_labels(["a", "b"])
    assert waiting.with_labels(["a", "b", "c"]).class_weights == {"b": 2, "c": 1}


def test_a_label_without_training_rows_has_no_balanced_weight() -> None:
    with pytest.raises(ValueError, match="no training row") as caught:
        task(class_weights="balanced").with_weights([0, 1, 1])
    assert str(caught.value) == (
        "class_weights: balanced: no training row has the label 'odd'. Take it out of `labels`, "
        "or give the weights as numbers."
    )
