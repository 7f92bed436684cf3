"""Metrics agree with scikit-learn and scipy, and say 0 where nothing is ranked."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sklearn
from torch import Tensor

from trivium.parts import metrics


def random(*shape: int, seed: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


EXACT = 1e-12
FINITE = st.floats(-1e300, 1e300)
PAIRS = st.lists(st.tuples(FINITE, FINITE), min_size=2, max_size=40)
TIED_PAIRS = st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=2, max_size=40)


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
    assert scores["macro_f1"] == pytest.approx(macro, abs=EXACT)
    if classes == 2:
        f1 = sklearn.f1_score(label_B, predicted, zero_division=0)
        assert scores["f1"] == pytest.approx(f1, abs=EXACT)
    else:
        assert "f1" not in scores
    table = sklearn.confusion_matrix(label_B, predicted, labels=range(classes))
    assert metrics.confusion(label_B, probability_BK.argmax(-1), classes) == table.tolist()


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
    table = metrics.confusion(torch.tensor([0, 0, 0, 2]), torch.tensor([0, 1, 1, 1]), 3)
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
        assert scores["spearman"] == pytest.approx(wanted, abs=EXACT)
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
    assert scores["pearson"] == pytest.approx(stats.pearsonr(x, y).statistic, abs=EXACT)
    assert scores["spearman"] == pytest.approx(stats.spearmanr(x, y).statistic, abs=EXACT)


@pytest.mark.parametrize("seed", range(4))
def test_ties_share_their_mean_rank(seed: int) -> None:
    predicted_B, target_B = whole(0, 4, 80, seed).float(), whole(0, 6, 80, seed + 9).float()
    expected = stats.spearmanr(predicted_B.numpy(), target_B.numpy()).statistic
    found = metrics.regression(predicted_B, target_B)["spearman"]
    assert found == pytest.approx(expected, abs=EXACT)


def exact_pearson(x: list[float], y: list[float]) -> float:
    """In fractions, of the very numbers that the floats are."""
    dx, dy = (
        [Fraction(value) - sum(map(Fraction, values)) / len(values) for value in values]
        for values in (x, y)
    )
    product = sum(a * b for a, b in zip(dx, dy, strict=True))
    square = product**2 / (sum(a * a for a in dx) * sum(b * b for b in dy))
    return math.copysign(math.sqrt(square), 1 if product > 0 else -1)


@pytest.mark.parametrize("spread", [1e-2, 1e-5, 1e-8, 1e-11, 1e-14])
def test_answers_close_together_are_still_correlated(spread: float) -> None:
    target_B = random(60, seed=1).double()
    predicted_B = 2.5 + spread * (target_B + random(60, seed=2).double())
    found = metrics.regression(predicted_B, target_B)
    expected = exact_pearson(predicted_B.tolist(), target_B.tolist())
    assert found["pearson"] == pytest.approx(expected, abs=EXACT)
    assert found["pearson"] > 0.5


@given(pairs=PAIRS)
def test_pearson_is_exact_for_numbers_of_any_size(pairs: list[tuple[float, float]]) -> None:
    x, y = map(list, zip(*pairs, strict=True))
    assume(len({*x}) > 1 and len({*y}) > 1)
    found = metrics.regression(*torch.tensor([x, y], dtype=torch.float64))
    assert found["pearson"] == pytest.approx(exact_pearson(x, y), abs=EXACT)


@pytest.mark.parametrize("size", [1e-300, 1e-200, 1e-30, 1.0, 1e30, 1e150, 1e200, 1e300])
def test_the_unit_of_the_numbers_does_not_matter(size: float) -> None:
    x_B, y_B = random(50, seed=3).double() - 0.5, random(50, seed=4).double() - 0.5
    wanted = stats.pearsonr(size * x_B.numpy(), y_B.numpy()).statistic
    found = metrics.regression(size * x_B, y_B)
    assert found["pearson"] == pytest.approx(wanted, abs=EXACT)
    assert found["spearman"] == metrics.regression(x_B, y_B)["spearman"]


def test_the_largest_numbers_and_the_smallest_have_a_correlation() -> None:
    big, small = torch.finfo(torch.float64).max, 5e-324
    x_B = torch.tensor([big, -big, big, -big], dtype=torch.float64)
    y_B = torch.tensor([small, 0, small, 0], dtype=torch.float64)
    assert metrics.regression(x_B, y_B) == pytest.approx({"pearson": 1, "spearman": 1})


@given(pairs=st.one_of(PAIRS, TIED_PAIRS))
def test_spearman_and_kendall_agree_with_scipy_on_any_numbers(
    pairs: list[tuple[float, float]],
) -> None:
    x, y = map(list, zip(*pairs, strict=True))
    one, two = torch.tensor([x, y], dtype=torch.float64)
    tau, rho = metrics.tau_b(x, y), metrics.regression(one, two)["spearman"]
    if len({*x}) == 1 or len({*y}) == 1:
        assert (tau, rho) == (None, 0.0)
        return
    assert tau == pytest.approx(stats.kendalltau(x, y).statistic, abs=EXACT)
    assert rho == pytest.approx(stats.spearmanr(x, y).statistic, abs=EXACT)


@given(values=st.lists(FINITE, min_size=2, max_size=30, unique=True))
def test_a_rising_function_keeps_the_order(values: list[float]) -> None:
    ranks = [float(sorted(values).index(value)) for value in values]
    assert metrics.tau_b(values, ranks) == 1.0
    assert metrics.tau_b(values, [-rank for rank in ranks]) == -1.0
    one, two = torch.tensor([values, ranks], dtype=torch.float64)
    assert metrics.regression(one, two)["spearman"] == pytest.approx(1.0, abs=EXACT)


def test_tau_b_by_hand() -> None:
    # Of six pairs the first side ties one, the second none; four stand in the same order, one not.
    assert metrics.tau_b([1, 2, 2, 3], [1, 2, 3, 2.5]) == pytest.approx(3 / 30**0.5)
    assert metrics.tau_b([1.0], [2.0]) is None


@given(pairs=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30))
def test_the_scores_of_any_answers_agree_with_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    """Among five classes of which some never occur, or are never predicted."""
    true, predicted = map(list, zip(*pairs, strict=True))
    scores = metrics.classification(torch.eye(5)[predicted], torch.tensor(true))
    macro = sklearn.f1_score(true, predicted, average="macro", zero_division=0)
    assert scores == pytest.approx(
        {"accuracy": sklearn.accuracy_score(true, predicted), "macro_f1": macro}, abs=EXACT
    )


def test_a_million_equal_answers_are_ranked() -> None:
    # Their ranks sum to more than 32 bits hold.
    same_B = torch.cat([torch.zeros(10**6), torch.ones(10)])
    scores = metrics.regression(same_B, same_B)
    assert scores == pytest.approx({"pearson": 1, "spearman": 1}, abs=EXACT)


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
