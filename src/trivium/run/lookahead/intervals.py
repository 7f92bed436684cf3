"""How sure a mean over measurements is that follow one another in time."""

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
LOW, HIGH = 0.025, 0.975
"""Quantiles of a 95 % interval."""

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


def bounds(mean_RTT: Floats) -> tuple[Floats, Floats]:
    """Both ends of the 95 % intervals."""
    low_TT, high_TT = np.quantile(mean_RTT, [LOW, HIGH], axis=0)
    return low_TT, high_TT
