"""How good answers are, beyond their scores: one-off rate, calibration."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.parts.tasks import Classification, Multilabel, Ordinal, Task
from trivium.run.folder.predictions import Answers

BINS = 15
"""Of confidence, as in Guo et al. 2017."""


def is_ordered(task: Task) -> bool:
    """Whether being one label off may be a smaller mistake than others: for ordinal tasks, and for
    classification where the label column holds three or more consecutive whole numbers."""
    if isinstance(task, Ordinal):
        return True
    if not isinstance(task, Classification) or len(task.labels or {}) < 3:
        return False
    return _are_counted(list(task.labels or {}))


def order_in_doubt(task: Classification) -> str:
    """The condition under which the labels of a task that `is_ordered` have an order.

    Empty for ordinal tasks, and where the labels' names are whole numbers, too: other numbers may
    be codes of labels without an order, such as those of inference (entailment, neutral, ...).
    """
    if isinstance(task, Ordinal) or _are_counted(task.names):
        return ""
    first, more = ", ".join(list(task.labels or {})[:3]), len(task.names) > 3
    return f"if {first}{' …' if more else ''} are an order"


def _are_counted(labels: Sequence[str]) -> bool:
    """Whether they are whole numbers, each one more than the last."""
    try:
        values = [int(label) for label in labels]
    except ValueError:
        return False
    return all(b - a == 1 for a, b in itertools.pairwise(values))


def places(task: Classification, cells: Sequence[str]) -> list[int]:
    """Index of the label that each cell names."""
    index = {name: place for place, name in enumerate(task.names)}
    return [index[cell] for cell in cells]


def chosen(task: Multilabel, cells: Sequence[str]) -> list[list[int]]:
    """Indices of the labels that each cell names."""
    index = {name: place for place, name in enumerate(task.names)}
    return [[index[name] for name in cell.split(task.separator)] if cell else [] for cell in cells]


@dataclass(frozen=True, slots=True)
class OneOff:
    """Rates over all rows of a task whose labels have an order."""

    exactly: float
    """Answers that are the label beside the true one."""
    of_mistakes: float
    """The same, over wrong answers only."""
    within: float
    """Right answers and those one label off."""


def one_off(true: Sequence[int], predicted: Sequence[int]) -> OneOff:
    away = [abs(a - b) for a, b in zip(true, predicted, strict=True)]
    ones, wrong = away.count(1), sum(distance > 0 for distance in away)
    return OneOff(
        ones / len(away), ones / wrong if wrong else 0.0, (away.count(0) + ones) / len(away)
    )


@dataclass(frozen=True, slots=True)
class Bin:
    confidence: float
    """Mean confidence of its answers."""
    accuracy: float
    rows: int


@dataclass(frozen=True, slots=True)
class Calibration:
    bins: list[Bin]
    """Those that hold an answer."""
    error: float
    """Expected calibration error."""


def calibration(task: Task, answers: Answers) -> Calibration:
    """Whether a confidence of p is right in a share p of cases (Guo et al. 2017, section 2).

    Of several labels, each one's yes or no, by the task's threshold, is an answer of its own.
    """
    probability_BK, target_B = answers.readout_BK.double(), answers.target_B
    if isinstance(task, Multilabel):
        is_yes_BK = task.settled(answers.readout_BK) > 0
        confidence_BK = torch.where(is_yes_BK, probability_BK, 1 - probability_BK)
        return calibrated(confidence_BK.flatten(), (is_yes_BK == (target_B > 0)).flatten())
    confidence_B, predicted_B = probability_BK.max(dim=1)
    return calibrated(confidence_B, predicted_B == target_B)


def calibrated(confidence_B: Tensor, is_right_B: Tensor) -> Calibration:
    """ECE = sum_m |B_m| / n |acc(B_m) - conf(B_m)| (equation 3), over bins ((m-1)/M, m/M]."""
    confidence_B, right_B = confidence_B.double(), is_right_B.double()
    edge_M = torch.linspace(0, 1, BINS + 1, dtype=torch.float64)
    bin_B = torch.bucketize(confidence_B, edge_M).clamp_min(1)
    bins = [
        Bin(float(confidence_B[of].mean()), float(right_B[of].mean()), int(of.sum()))
        for place in range(1, BINS + 1)
        if (of := bin_B == place).any()
    ]
    error = sum(each.rows * abs(each.accuracy - each.confidence) for each in bins) / len(right_B)
    return Calibration(bins, error)
