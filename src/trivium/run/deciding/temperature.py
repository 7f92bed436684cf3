"""The temperature that makes probabilities fit labels best, and how well they fit.

Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2: one number T > 0, by which
all logits are divided, found by the mean negative log-likelihood of held-out rows. The
likelihood is convex in 1 / T, so what is found is its only minimum.
"""

import numpy as np
from numpy.typing import NDArray

from trivium.answering.decide import Numbers, logarithm

LEAST, MOST = 0.02, 50.0
"""Temperatures between which one is sought: beyond them rows are all right, or tell nothing."""
STEPS = 200
BINS = 15
"""Of confidence, as in Guo et al. 2017."""


def best_temperature(log_BK: Numbers, label_B: NDArray[np.int64]) -> float:
    """T, to six digits. log_BK: log-probabilities; label_B: the right ones.

    Several labels a row are as many rows of two, [that it does not apply, that it does].
    """
    low, high = 1 / MOST, 1 / LEAST
    if slope(log_BK, label_B, low)[0] >= 0:
        return MOST
    if slope(log_BK, label_B, high)[0] <= 0:
        return LEAST
    at = 1.0
    for _ in range(STEPS):
        first, second = slope(log_BK, label_B, at)
        low, high = (at, high) if first < 0 else (low, at)
        newton = at - first / second if second > 0 else low
        # Where Newton's step leads out of what is left, that is halved.
        step = newton if low < newton < high else (low + high) / 2
        if abs(step - at) <= 1e-12 * at:
            break
        at = step
    return float(f"{1 / at:.6g}")


def slope(log_BK: Numbers, label_B: NDArray[np.int64], inverse: float) -> tuple[float, float]:
    """First and second derivative of the mean negative log-likelihood in 1 / T."""
    soft_BK = _softmax(log_BK * inverse)
    mean_B = (soft_BK * log_BK).sum(axis=1)
    spread_B = (soft_BK * (log_BK - mean_B[:, None]) ** 2).sum(axis=1)
    right_B = np.take_along_axis(log_BK, label_B[:, None], axis=1)[:, 0]
    return float((mean_B - right_B).mean()), float(spread_B.mean())


def likelihood(probability_BK: Numbers, label_B: NDArray[np.int64]) -> float:
    """Mean negative log-likelihood of the labels, in nats."""
    right_B = np.take_along_axis(probability_BK, label_B[:, None], axis=1)[:, 0]
    return float(-logarithm(right_B).mean())


def bins(confidence_B: Numbers, right_B: NDArray[np.bool_]) -> list[tuple[float, float, int]]:
    """Mean confidence, share of right answers, and answers, of each ((m-1)/M, m/M] that has any."""
    edge_M = np.linspace(0, 1, BINS + 1)
    place_B = np.searchsorted(edge_M, confidence_B).clip(1)
    return [
        (float(confidence_B[of].mean()), float(right_B[of].mean()), int(of.sum()))
        for place in range(1, BINS + 1)
        if (of := place_B == place).any()
    ]


def calibration_error(of_bins: list[tuple[float, float, int]]) -> float:
    """ECE: sum_m |B_m| / n |acc(B_m) - conf(B_m)| (equation 3)."""
    rows = sum(rows for *_, rows in of_bins)
    return sum(rows * abs(right - sure) for sure, right, rows in of_bins) / max(1, rows)


def _softmax(logit_BK: Numbers) -> Numbers:
    odds_BK = np.exp(logit_BK - logit_BK.max(axis=1, keepdims=True))
    soft_BK: Numbers = odds_BK / odds_BK.sum(axis=1, keepdims=True)
    return soft_BK
