"""Metrics, most by torchmetrics. Inputs are CPU tensors; every metric is better when higher."""

import math
from typing import Any

import torch
from torch import Tensor


def classification(probability_BK: Tensor, label_B: Tensor) -> dict[str, float]:
    """accuracy and macro_f1; with two classes also f1 of the second one."""
    M = _torchmetrics()
    classes = probability_BK.shape[1]
    predicted_B = probability_BK.argmax(dim=1)
    scores = {
        "accuracy": float((predicted_B == label_B).double().mean()),
        "macro_f1": float(
            M.f1_score(
                predicted_B, label_B, task="multiclass", num_classes=classes, average="macro"
            )
        ),
    }
    if classes == 2:
        scores["f1"] = float(M.f1_score(predicted_B, label_B, task="binary"))
    return scores


def ordinal(probability_BK: Tensor, label_B: Tensor) -> dict[str, float]:
    """accuracy and macro_f1; one_off, the share of answers at most one label away from the true
    one; and spearman of the mean label (of the distribution) with the true one."""
    found = classification(probability_BK, label_B)
    away_B = (probability_BK.argmax(dim=1) - label_B).abs()
    place_K = torch.arange(probability_BK.shape[1], dtype=torch.float64)
    return {
        "accuracy": found["accuracy"],
        "macro_f1": found["macro_f1"],
        "one_off": float((away_B <= 1).double().mean()),
        "spearman": regression(probability_BK.double() @ place_K, label_B)["spearman"],
    }


def multilabel(predicted_BK: Tensor, applies_BK: Tensor) -> dict[str, float]:
    """micro_f1 over all decisions, macro_f1 over labels, and exact_match of whole rows.

    predicted_BK, applies_BK: booleans. An F1 of nothing predicted and nothing true is 0.
    """
    hits_K = (predicted_BK & applies_BK).double().sum(dim=0)
    both_K = predicted_BK.double().sum(dim=0) + applies_BK.double().sum(dim=0)
    return {
        "micro_f1": float(2 * hits_K.sum() / both_K.sum().clamp_min(1)),
        "macro_f1": float((2 * hits_K / both_K.clamp_min(1)).mean()),
        "exact_match": float((predicted_BK == applies_BK).all(dim=1).double().mean()),
    }


def regression(predicted_B: Tensor, target_B: Tensor) -> dict[str, float]:
    """pearson and spearman; 0 where one side is constant or not finite: nothing is ranked then."""
    predicted_B, target_B = predicted_B.double(), target_B.double()
    if not (_varies(predicted_B) and _varies(target_B)):
        return {"pearson": 0.0, "spearman": 0.0}
    M = _torchmetrics()
    pearson = M.pearson_corrcoef(predicted_B, target_B)
    # torchmetrics ranks in the input's precision; ties keep their mean rank.
    spearman = M.spearman_corrcoef(predicted_B, target_B)
    return {"pearson": _finite(pearson), "spearman": _finite(spearman)}


def confusion(probability_BK: Tensor, label_B: Tensor) -> list[list[int]]:
    """Counts: row = true class, column = predicted class."""
    classes = probability_BK.shape[1]
    counts = _torchmetrics().confusion_matrix(
        probability_BK.argmax(dim=1), label_B, task="multiclass", num_classes=classes
    )
    return [[int(count) for count in row] for row in counts]


def _torchmetrics() -> Any:
    """Imported where first used: it in turn imports transformers, scipy and matplotlib where they
    are installed, seconds that a check, a prediction or a refused recipe need not wait for."""
    import torchmetrics.functional

    return torchmetrics.functional


def _varies(values_B: Tensor) -> bool:
    # Not by the deviation, which rounding makes greater than 0 for equal numbers.
    return len(values_B) > 1 and bool(values_B.isfinite().all() and values_B.min() < values_B.max())


def _finite(value: Tensor) -> float:
    found = float(value)
    return found if math.isfinite(found) else 0.0


def mean(values: list[float]) -> float:
    return float(torch.tensor(values, dtype=torch.float64).mean())
