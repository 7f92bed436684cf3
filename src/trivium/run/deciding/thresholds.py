"""Thresholds of labels of which several may apply: one for each, or one for all."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from trivium.answering.decide import Numbers, log_odds
from trivium.run.deciding.aims import Aim
from trivium.run.deciding.sweep import (
    Counts,
    accuracy,
    counts,
    f1,
    precision_at,
    recall_at,
    sweep,
)

LEAST, MOST = 1e-6, 1 - 1e-6


def best_thresholds(
    told_BK: Numbers,
    applies_BK: NDArray[np.bool_],
    names: Sequence[str],
    threshold: float,
    aim: Aim,
) -> tuple[dict[str, float], list[str]]:
    """Thresholds of the labels that are best not left at the task's own; and why some are left
    there although they are to reach a level. threshold: the task's own, of told probabilities."""
    if aim.measure == "none" or not len(told_BK):
        return {}, []
    start = float(log_odds(np.array([threshold]))[0])
    lead_BK = log_odds(told_BK) - start
    if aim.measure == "micro_f1":
        found = sweep(lead_BK.flatten(), wins_ties=True)
        move = found.best(f1(counts(found, applies_BK.flatten())))
        return ({name: _moved(start, move) for name in names} if move else {}), []
    value, thresholds, problems = _value(aim), {}, []
    for place, name in enumerate(names):
        applies_B = applies_BK[:, place]
        if applies_B.all() or not applies_B.any():
            problems.append(f"label {name!r}: {_nothing_tells(applies_B)}")
            continue
        found = sweep(lead_BK[:, place], wins_ties=True)
        value_M = value(counts(found, applies_B))
        if np.isnan(value_M).all():
            problems.append(f"label {name!r}: no threshold reaches {aim}")
        elif move := found.best(value_M):
            thresholds[name] = _moved(start, move)
    return thresholds, problems


def _value(aim: Aim) -> Callable[[Counts], Numbers]:
    if aim.measure == "accuracy":
        return accuracy
    if aim.measure in ("f1", "macro_f1"):
        return f1
    assert aim.level is not None
    return (precision_at if aim.measure == "precision" else recall_at)(aim.level)


def _nothing_tells(applies_B: NDArray[np.bool_]) -> str:
    which = "every row has it" if len(applies_B) and applies_B.all() else "no row has it"
    return f"{which}, so nothing tells where its threshold should be"


def can_be_told(threshold: float) -> bool:
    """Whether a threshold is far enough from 0 and 1."""
    return LEAST <= threshold <= MOST


def _moved(start: float, move: float) -> float:
    """A label whose log-odds are lifted by `move` is said from this probability on."""
    return float(min(MOST, max(LEAST, 1 / (1 + np.exp(move - start)))))
