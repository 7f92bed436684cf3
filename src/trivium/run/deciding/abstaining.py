"""From which certainty on to answer, so that a wanted share of the answers is right."""

import numpy as np
from numpy.typing import NDArray

from trivium.answering.decide import Decided, Numbers

MOST_POINTS = 60
"""Of a curve."""


def abstention_level(
    decided: Decided, right_B: NDArray[np.bool_], wanted: float
) -> tuple[float, str]:
    """The lowest confidence from which on a share `wanted` of the rows' answers is right; and why
    there is none, if so: then nearly nothing is answered.

    decided: had every row been answered.
    """
    confidence_B, share_B = _surest_first(decided.confidence_B, right_B)
    # Rows of one confidence are answered together or not at all.
    is_edge_B = np.append(confidence_B[1:] < confidence_B[:-1], True)
    reached = np.flatnonzero(is_edge_B & (share_B >= wanted - 1e-12))
    if not len(reached):
        most = float(share_B[is_edge_B].max())
        return 1.0, f"no level reaches {wanted:.0%} right answers; the surest are {most:.1%} right"
    last = int(reached[-1])
    if last == len(confidence_B) - 1:
        return float(confidence_B[last]), ""
    return float((confidence_B[last] + confidence_B[last + 1]) / 2), ""


def coverage(confidence_B: Numbers, right_B: NDArray[np.bool_]) -> list[list[float]]:
    """A curve: of the surest rows, for some shares of them, how many are right (El-Yaniv & Wiener
    2010, "On the Foundations of Noise-free Selective Classification")."""
    _, share_B = _surest_first(confidence_B, right_B)
    rows = len(share_B)
    places = np.unique(np.linspace(0, rows - 1, min(rows, MOST_POINTS)).round().astype(np.int64))
    return [[(int(place) + 1) / rows, float(share_B[place])] for place in places]


def _surest_first(confidence_B: Numbers, right_B: NDArray[np.bool_]) -> tuple[Numbers, Numbers]:
    """Confidences, falling; and of the rows up to each one the share whose answers are right."""
    order_B = np.argsort(-confidence_B, kind="stable")
    share_B: Numbers = right_B[order_B].cumsum() / np.arange(1, len(right_B) + 1)
    return confidence_B[order_B], share_B
