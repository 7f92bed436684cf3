"""Metrics, in float64. Inputs are CPU tensors; every metric is better when higher."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def classification(
    probability_BK: Tensor, label_B: Tensor, predicted_B: Tensor | None = None
) -> dict[str, float]:
    """accuracy and macro_f1; with two classes also f1 of the second one.

    macro_f1 is the mean over the classes that occur, in the labels or in the answers. predicted_B:
    the answers, where they are not the most probable labels.
    """
    if predicted_B is None:
        predicted_B = probability_BK.argmax(dim=1)
    is_right_B = predicted_B == label_B
    # Not from a confusion matrix, whose size is the square of what may be thousands of classes.
    hits_K, true_K, said_K = (
        torch.bincount(class_B, minlength=probability_BK.shape[1])
        for class_B in (label_B[is_right_B], label_B, predicted_B)
    )
    both_K = true_K + said_K
    f1_K = f1(hits_K, both_K)
    scores = {
        "accuracy": float(is_right_B.double().mean()),
        "macro_f1": float(f1_K[both_K > 0].mean()),
    }
    if len(f1_K) == 2:
        scores["f1"] = float(f1_K[1])
    return scores


def ordinal(
    probability_BK: Tensor, label_B: Tensor, predicted_B: Tensor | None = None
) -> dict[str, float]:
    """accuracy and macro_f1; one_off, the share of answers at most one label away from the true
    one; and spearman of the mean label (of the distribution) with the true one. predicted_B: as in
    `classification`."""
    if predicted_B is None:
        predicted_B = probability_BK.argmax(dim=1)
    found = classification(probability_BK, label_B, predicted_B)
    away_B = (predicted_B - label_B).abs()
    place_K = torch.arange(probability_BK.shape[1], dtype=torch.float64)
    return {
        "accuracy": found["accuracy"],
        "macro_f1": found["macro_f1"],
        "one_off": float((away_B <= 1).double().mean()),
        "spearman": regression(probability_BK.double() @ place_K, label_B)["spearman"],
    }


def multilabel(predicted_BK: Tensor, applies_BK: Tensor) -> dict[str, float]:
    """micro_f1 over all decisions, macro_f1 over labels, and exact_match of whole rows.

    predicted_BK, applies_BK: booleans. Labels that never occur count in macro_f1, with 0.
    """
    hits_K = (predicted_BK & applies_BK).sum(dim=0)
    both_K = predicted_BK.sum(dim=0) + applies_BK.sum(dim=0)
    return {
        "micro_f1": float(f1(hits_K.sum(), both_K.sum())),
        "macro_f1": float(f1(hits_K, both_K).mean()),
        "exact_match": float((predicted_BK == applies_BK).all(dim=1).double().mean()),
    }


def f1(hits: Tensor, both: Tensor) -> Tensor:
    """2 TP / (2 TP + FP + FN), the harmonic mean of precision and recall, element by element.

    hits: how many are predicted and true; both: how many are predicted plus how many are true,
    counts of whole rows. F1 of nothing predicted and nothing true is 0.
    """
    return 2 * hits.double() / both.double().clamp_min(1)


def regression(predicted_B: Tensor, target_B: Tensor) -> dict[str, float]:
    """pearson and spearman; 0 where one side is constant or not finite: nothing is ranked then."""
    predicted_B, target_B = predicted_B.double(), target_B.double()
    if not (_varies(predicted_B) and _varies(target_B)):
        return {"pearson": 0.0, "spearman": 0.0}
    return {
        "pearson": _pearson(predicted_B, target_B),
        "spearman": _pearson(_rank(predicted_B), _rank(target_B)),
    }


def tau_b(one: Sequence[float], two: Sequence[float]) -> float | None:
    """Kendall's tau-b (Kendall 1945, "The treatment of ties in ranking problems"): pairs in the
    same order less pairs in opposite order, over the geometric mean of the numbers of pairs that
    either side sets apart. None where one side sets none apart. Compares every pair with every
    other: for hundreds of values, not for a table's rows."""
    order_NN, other_NN = (
        (x_N[:, None] > x_N).long() - (x_N[:, None] < x_N).long()
        for x_N in (torch.tensor(values, dtype=torch.float64) for values in (one, two))
    )
    apart = int(order_NN.abs().sum()) * int(other_NN.abs().sum())
    # The root of a whole number, so that two equal orders have exactly 1.
    return int((order_NN * other_NN).sum()) / math.sqrt(apart) if apart else None


def confusion(true_B: Tensor, predicted_B: Tensor, classes: int) -> list[list[int]]:
    """Counts: row = true class, column = predicted class."""
    cells = torch.bincount(true_B * classes + predicted_B, minlength=classes**2)
    table: list[list[int]] = cells.view(classes, classes).tolist()
    return table


def mean(values: list[float]) -> float:
    """Of numbers, of which there is one at least."""
    return float(torch.tensor(values, dtype=torch.float64).mean())


def _varies(values_B: Tensor) -> bool:
    # Not by the deviation, which rounding makes greater than 0 for equal numbers.
    return len(values_B) > 1 and bool(values_B.isfinite().all() and values_B.min() < values_B.max())


def _pearson(x_B: Tensor, y_B: Tensor) -> float:
    """The cosine of the deviations from the means, neither of which may be constant."""
    x_B, y_B = _deviation(x_B), _deviation(y_B)
    cosine = float(x_B @ y_B / (x_B.norm() * y_B.norm()))
    return max(-1.0, min(1.0, cosine))  # rounding may lead out of the range


def _deviation(values_B: Tensor) -> Tensor:
    """From the mean, in units in which no sum or square overflows or vanishes."""
    deviation_B = _scaled(values_B)
    deviation_B = deviation_B - deviation_B.mean()
    # The mean is rounded to a number as large as the values; beside deviations much smaller than
    # they are, that is an error, and the mean of what is left tells it.
    return _scaled(deviation_B - deviation_B.mean())


def _scaled(values_B: Tensor) -> Tensor:
    """By a power of two, which rounds nothing, so that the largest is between 1 and 2."""
    return values_B / 2.0 ** (math.frexp(float(values_B.abs().max()))[1] - 1)


def _rank(values_B: Tensor) -> Tensor:
    """1 for the smallest; equal values share the mean of their ranks."""
    _, place_B, count_U = torch.unique(values_B, return_inverse=True, return_counts=True)
    rank_U: Tensor = count_U.cumsum(0) - (count_U.double() - 1) / 2
    return rank_U[place_B]
