"""A threshold by sorting: every one that makes a difference, tried at once.

Rows go over to a label one after another as its weight rises. What is right about the first n that
go is a running sum, so all thresholds cost one sort.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trivium.answering.decide import Numbers

NEAR = 1e-9
"""Places that are closer than this, in logarithms, are not told apart."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """The moves of a label's log-weight that make a difference, in rising order; M of them."""

    order_B: NDArray[np.int64]
    """The rows in the order in which they go over to the label."""
    count_M: NDArray[np.int64]
    """Rows that have gone over at each."""
    at_M: Numbers
    """The move: 0 is where the label's weight is as it was."""
    now: int
    """Which of them leaves all as it is."""

    def best(self, value_M: Numbers) -> float:
        """The move with the greatest value; of equals none at all, or else the smallest. NaN is
        less than any."""
        value_M = np.where(np.isnan(value_M), -np.inf, value_M)
        ties_M = value_M >= value_M.max() - 1e-12 * max(1.0, abs(float(value_M.max())))
        if ties_M[self.now]:
            return 0.0
        places = np.flatnonzero(ties_M)
        return float(self.at_M[places[np.abs(self.at_M[places]).argmin()]])


def sweep(lead_B: Numbers, *, wins_ties: bool = False) -> Sweep:
    """lead_B: by how much each row's label wins now, in logarithms; below 0, how much it lacks.
    wins_ties: whether the label is said where that is 0."""
    order_B = np.argsort(-lead_B, kind="stable")
    need_B = -lead_B[order_B]
    apart = np.flatnonzero(np.diff(need_B) > NEAR * (1 + np.abs(need_B[1:])))
    middle = (need_B[apart] + need_B[apart + 1]) / 2
    at_M = np.concatenate([[need_B[0] - 1.0], middle, [need_B[-1] + 1.0]])
    count_M = np.concatenate([[0], apart + 1, [len(need_B)]])
    said = int((need_B <= 0 if wins_ties else need_B < 0).sum())
    now = int(np.searchsorted(count_M, said))
    at_M[now] = 0.0
    return Sweep(order_B, count_M, at_M, now)


@dataclass(frozen=True, slots=True)
class Counts:
    """Of each move: rows that say the label, those that do so rightly; and rows that have it."""

    said_M: Numbers
    hits_M: Numbers
    true: int
    rows: int


def counts(found: Sweep, is_true_B: NDArray[np.bool_]) -> Counts:
    """What each move of a label has rows say. is_true_B: whether a row has the label."""
    hits = np.concatenate([[0], is_true_B[found.order_B].cumsum()])
    said_M = found.count_M.astype(np.float64)
    hits_M = hits[found.count_M].astype(np.float64)
    return Counts(said_M, hits_M, int(is_true_B.sum()), len(is_true_B))


def f1(of: Counts) -> Numbers:
    """Of each move, 2 TP / (2 TP + FP + FN); 0 where nothing is said and nothing is true."""
    found_M: Numbers = 2 * of.hits_M / np.maximum(of.said_M + of.true, 1)
    return found_M


def accuracy(of: Counts) -> Numbers:
    """Of the decision whether it is the label."""
    right_M: Numbers = (of.hits_M + (of.rows - of.true - (of.said_M - of.hits_M))) / of.rows
    return right_M


def precision_at(level: float) -> Callable[[Counts], Numbers]:
    """The most recall with at least this precision; NaN where it is not reached."""

    def value(of: Counts) -> Numbers:
        precision_M = of.hits_M / np.maximum(of.said_M, 1)
        reached_M = (of.said_M > 0) & (precision_M >= level - 1e-12)
        # Of moves with equal recall the one with the most precision.
        return np.where(reached_M, of.hits_M + precision_M / 2, np.nan)

    return value


def recall_at(level: float) -> Callable[[Counts], Numbers]:
    """The most precision with at least this recall; NaN where it is not reached."""

    def value(of: Counts) -> Numbers:
        reached_M = of.hits_M >= level * of.true - 1e-9
        precision_M = of.hits_M / np.maximum(of.said_M, 1)
        return np.where(reached_M & (of.true > 0), precision_M, np.nan)

    return value


def most_precision(of: Counts) -> float:
    """The greatest precision that any move reaches."""
    return float((of.hits_M / np.maximum(of.said_M, 1)).max())
