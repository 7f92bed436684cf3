"""How sure a mean over measurements is that follow one another in time."""

import math

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
FEWEST = 2
"""Measurements without which there is no interval."""
CHANCE = 0.05
"""That a 95 % interval leaves out what it is about."""

Floats = NDArray[np.float64]


def block_length(measurements: int) -> int:
    """Measurements that are drawn together: the cube root of their number, the order that is best
    for the variance of a mean (Künsch 1989; Hall, Horowitz and Jing 1995)."""
    return max(1, int(measurements ** (1 / 3) + 0.5))


def resampled_means(gain_MTT: Floats, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """Means of measurements drawn anew in blocks: mean_RTT (circular block bootstrap; Politis and
    Romano 1992). Neighbours in time are alike, so they are drawn together. The draws are fixed."""
    count = len(gain_MTT)
    length = block_length(count)
    blocks = -(-count // length)
    start_RB = np.random.default_rng(seed).integers(count, size=(resamples, blocks))
    place_RM = (start_RB[:, :, None] + np.arange(length)).reshape(resamples, -1)[:, :count] % count
    weight_RM = np.zeros((resamples, count))
    np.add.at(weight_RM, (np.arange(resamples)[:, None], place_RM), 1 / count)
    mean_RTT: Floats = np.einsum("rm,mij->rij", weight_RM, gain_MTT)
    return mean_RTT


def bounds(
    gain: Floats, mean_R: Floats, measurements: int, chance: float = CHANCE
) -> tuple[Floats, Floats]:
    """Both ends of the intervals of `gain`, a mean over that many measurements.

    mean_R: means of measurements drawn anew, along the first axis. Their spread is that of the mean
    but for a factor, and says how far off it may be only as well as so few blocks can say it: hence
    Student's t. The quantiles of mean_R themselves leave out the truth in 34 % of the cases with 4
    measurements, and in 21 % with 6.
    """
    blocks = max(2.0, measurements / block_length(measurements))
    spread = mean_R.std(axis=0) * (blocks / (blocks - 1)) ** 0.5
    far = student(1 - chance / 2, max(1, int(blocks) - 1)) * spread
    return gain - far, gain + far


def student(share: float, freedom: int) -> float:
    """The quantile of Student's t, by halving; share: from 0.5 to below 1."""
    low, high = 0.0, 1.0
    while _below(high, freedom) < share:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _below(middle, freedom) < share else (low, middle)
    return high


def _below(t: float, freedom: int) -> float:
    """Its distribution function, as a finite sum (Abramowitz and Stegun 1964, 26.7.3 and 4)."""
    angle = math.atan(t / freedom**0.5)
    is_odd = freedom % 2
    term = math.cos(angle) if is_odd else 1.0
    total = term if freedom > 1 else 0.0
    for step in range(2 + is_odd, freedom - 1, 2):
        term *= math.cos(angle) ** 2 * (step - 1) / step
        total += term
    within = math.sin(angle) * total
    return 0.5 + (within if not is_odd else 2 / math.pi * (angle + within)) / 2
