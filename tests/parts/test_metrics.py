"""Metrics agree with scikit-learn and scipy, and say 0 where nothing is ranked."""

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics as sklearn
from torch import Tensor

from trivium.parts import metrics


def random(*shape: int, seed: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def whole(low: int, high: int, size: int, seed: int) -> Tensor:
    return torch.randint(low, high, (size,), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("rows", "classes"), [(1, 2), (7, 2), (60, 3), (200, 5), (30, 40)])
def test_classification_agrees_with_scikit_learn(rows: int, classes: int, seed: int) -> None:
    probability_BK = random(rows, classes, seed=seed).softmax(-1)
    label_B = whole(0, classes, rows, seed + 100)
    predicted = probability_BK.argmax(-1).numpy()
    scores = metrics.classification(probability_BK, label_B)
    assert scores["accuracy"] == pytest.approx(sklearn.accuracy_score(label_B, predicted))
    macro = sklearn.f1_score(label_B, predicted, average="macro", zero_division=0)
    assert scores["macro_f1"] == pytest.approx(macro, abs=1e-6)
    if classes == 2:
        f1 = sklearn.f1_score(label_B, predicted, zero_division=0)
        assert scores["f1"] == pytest.approx(f1, abs=1e-6)
    else:
        assert "f1" not in scores
    table = sklearn.confusion_matrix(label_B, predicted, labels=range(classes))
    assert metrics.confusion(probability_BK, label_B) == table.tolist()


def test_macro_f1_is_over_the_classes_that_occur() -> None:
    # Class 0: F1 1; class 1 is true once and never said, class 2 said once and never true: 0.
    # Class 3 occurs on neither side and does not count.
    probability_BK = torch.eye(4)[[0, 0, 2]]
    scores = metrics.classification(probability_BK, torch.tensor([0, 0, 1]))
    assert scores["macro_f1"] == pytest.approx(1 / 3)
    assert scores["accuracy"] == pytest.approx(2 / 3)


def test_f1_is_that_of_the_second_class() -> None:
    probability_BK = torch.eye(2)[[1, 1, 1, 0]]
    label_B = torch.tensor([1, 0, 0, 0])
    assert metrics.classification(probability_BK, label_B)["f1"] == pytest.approx(0.5)


def test_a_class_never_predicted_counts_0() -> None:
    scores = metrics.classification(torch.eye(2)[[0, 0, 0, 0]], torch.tensor([0, 0, 1, 1]))
    assert scores == {
        "accuracy": 0.5,
        "macro_f1": pytest.approx(1 / 3),
        "f1": 0.0,
    }


def test_confusion_has_a_row_for_each_true_class() -> None:
    probability_BK = torch.eye(3)[[0, 1, 1, 1]]
    table = metrics.confusion(probability_BK, torch.tensor([0, 0, 0, 2]))
    assert table == [[1, 2, 0], [0, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("rows", "classes"), [(1, 2), (60, 3), (200, 5)])
def test_ordered_labels_agree_with_scikit_learn_and_scipy(
    rows: int, classes: int, seed: int
) -> None:
    probability_BK = random(rows, classes, seed=seed).softmax(-1)
    label_B = whole(0, classes, rows, seed + 100)
    scores = metrics.ordinal(probability_BK, label_B)
    plain = metrics.classification(probability_BK, label_B)
    assert {k: scores[k] for k in ("accuracy", "macro_f1")} == {
        k: plain[k] for k in ("accuracy", "macro_f1")
    }
    predicted, true = probability_BK.argmax(-1).numpy(), label_B.numpy()
    table = sklearn.confusion_matrix(true, predicted, labels=range(classes))
    near = sum(table[i, j] for i in range(classes) for j in range(classes) if abs(i - j) <= 1)
    assert scores["one_off"] == pytest.approx(near / rows)
    if rows > 1:
        mean = (probability_BK.double() @ torch.arange(classes).double()).numpy()
        wanted = stats.spearmanr(mean, true).statistic
        assert scores["spearman"] == pytest.approx(wanted, abs=1e-5)
    assert set(scores) == {"accuracy", "macro_f1", "one_off", "spearman"}


def test_one_off_by_hand() -> None:
    # Answers 0, 2, 3, 3 where 0, 1, 1, 0 is right: two of them are at most one away.
    scores = metrics.ordinal(torch.eye(4)[[0, 2, 3, 3]], torch.tensor([0, 1, 1, 0]))
    assert scores["one_off"] == 0.5
    assert scores["accuracy"] == 0.25


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("rows", "labels"), [(1, 1), (1, 3), (50, 1), (60, 4), (20, 30)])
def test_several_labels_agree_with_scikit_learn(rows: int, labels: int, seed: int) -> None:
    predicted_BK = random(rows, labels, seed=seed) > 0.6
    applies_BK = random(rows, labels, seed=seed + 100) > 0.7
    scores = metrics.multilabel(predicted_BK, applies_BK)
    true, predicted = applies_BK.int().numpy(), predicted_BK.int().numpy()
    for average in ("micro", "macro"):
        if labels == 1:  # scikit-learn would take one column for two classes
            wanted = sklearn.f1_score(true[:, 0], predicted[:, 0], zero_division=0)
        else:
            wanted = sklearn.f1_score(true, predicted, average=average, zero_division=0)
        assert scores[f"{average}_f1"] == pytest.approx(wanted)
    assert scores["exact_match"] == pytest.approx(sklearn.accuracy_score(true, predicted))


def test_nothing_said_of_nothing_true_matches_but_earns_no_f1() -> None:
    none_BK = torch.zeros(3, 2, dtype=torch.bool)
    assert metrics.multilabel(none_BK, none_BK) == {
        "micro_f1": 0.0,
        "macro_f1": 0.0,
        "exact_match": 1.0,
    }


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("rows", [3, 40, 500])
def test_correlations_agree_with_scipy(rows: int, seed: int) -> None:
    target_B = random(rows, seed=seed) * 5
    predicted_B = target_B + random(rows, seed=seed + 50) * 8
    scores = metrics.regression(predicted_B, target_B)
    x, y = predicted_B.double().numpy(), target_B.double().numpy()
    assert scores["pearson"] == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-9)
    assert scores["spearman"] == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_ties_share_their_mean_rank(seed: int) -> None:
    predicted_B, target_B = whole(0, 4, 80, seed).float(), whole(0, 6, 80, seed + 9).float()
    expected = stats.spearmanr(predicted_B.numpy(), target_B.numpy()).statistic
    assert metrics.regression(predicted_B, target_B)["spearman"] == pytest.approx(
        expected, abs=1e-5
    )


@pytest.mark.parametrize("spread", [1e-2, 1e-5, 1e-8])
def test_answers_close_together_are_still_correlated_without_a_warning(spread: float) -> None:
    target_B = random(60, seed=1).double()
    predicted_B = 2.5 + spread * (target_B + random(60, seed=2).double())
    expected = stats.pearsonr(predicted_B.numpy(), target_B.numpy()).statistic
    found = metrics.regression(predicted_B, target_B)
    assert found["pearson"] == pytest.approx(expected, abs=1e-6)
    assert found["pearson"] > 0.5


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 1001])
@pytest.mark.parametrize("constant", [0.0, 0.1, 1 / 3, 2.7, 1e6])
def test_constant_answers_correlate_with_nothing(constant: float, rows: int) -> None:
    for dtype in (torch.float32, torch.float64):
        same_B = torch.full((rows,), constant, dtype=dtype)
        other_B = random(rows, seed=rows)
        for pair in ((same_B, other_B), (other_B, same_B), (same_B, same_B)):
            assert metrics.regression(*pair) == {"pearson": 0.0, "spearman": 0.0}


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_an_answer_that_is_no_number_makes_the_correlation_0(wrong: float) -> None:
    predicted_B = torch.tensor([0.1, 0.2, 0.3, wrong])
    scores = metrics.regression(predicted_B, torch.tensor([0.1, 0.2, 0.3, 0.4]))
    assert scores == {"pearson": 0.0, "spearman": 0.0}


def test_mean_is_the_arithmetic_mean() -> None:
    values = [0.1, 0.2, 0.7]
    assert metrics.mean(values) == pytest.approx(np.mean(values))
