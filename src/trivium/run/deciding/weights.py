"""Weights of labels of which one applies: the answer is the label with the greatest w_k p_k.

Of two labels that is a threshold on the second one's probability; of more, each label's weight is
set in turn to the best there is beside the others' (coordinate ascent), until none gains.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trivium.answering.decide import Numbers, logarithm
from trivium.run.deciding.aims import Aim
from trivium.run.deciding.sweep import (
    Sweep,
    counts,
    f1,
    most_precision,
    precision_at,
    recall_at,
    sweep,
)

PASSES = 10

Labels = NDArray[np.int64]


def best_weights(
    told_BK: Numbers, label_B: Labels, names: Sequence[str], aim: Aim
) -> tuple[dict[str, float], str]:
    """Weights by name, none where all are best left alike; and why the aim is out of reach, if it
    is: then they come as close as there is. A label that no row has stays among the others where it
    is."""
    if aim.measure == "none" or not len(told_BK):
        return {}, ""
    log_BK, log_weight_K, problem = logarithm(told_BK), np.zeros(len(names)), ""
    if aim.label is not None:
        log_weight_K[aim.label], problem = _at_level(log_BK, label_B, aim, names[aim.label])
    else:
        there = np.unique(label_B)
        log_weight_K[there] = _best(log_BK[:, there], np.searchsorted(there, label_B), aim)
    if not log_weight_K.any():
        return {}, problem
    return dict(zip(names, _scaled(log_weight_K).tolist(), strict=True)), problem


def untold(label_B: Labels, names: Sequence[str], aim: Aim) -> list[str]:
    """Of which labels these rows do not tell where their weight should be, in words."""
    if aim.measure == "none" or aim.label is not None:
        return []
    lacking = [name for place, name in enumerate(names) if place not in label_B]
    return [f"label {name!r}: no row has it, so its weight is left as it is" for name in lacking]


def threshold_of(weights: dict[str, float], names: Sequence[str]) -> float | None:
    """Of two labels: the probability from which the second one is the answer."""
    if len(names) != 2 or not weights:
        return None
    first, second = (weights[name] for name in names)
    return first / (first + second)


def _scaled(log_weight_K: Numbers) -> Numbers:
    """Of two labels so that the first one's weight is the threshold; of more to a mean
    logarithm of 0."""
    if len(log_weight_K) == 2:
        first = 1 / (1 + np.exp(log_weight_K[1] - log_weight_K[0]))
        # Never 0, however far out: it shall be a number above 0.
        return np.array([first, 1 - first]).clip(1e-12)
    scaled_K: Numbers = np.exp((log_weight_K - log_weight_K.mean()).clip(-600, 600))
    return scaled_K


def _best(log_BK: Numbers, label_B: Labels, aim: Aim) -> Numbers:
    """Log-weights, 0 in the mean, of labels of which each has a row."""
    log_weight_K = np.zeros(log_BK.shape[1])
    if len(log_weight_K) == 2:
        log_weight_K[1] = _move(log_BK, label_B, 1, aim)
    elif len(log_weight_K) > 2:
        _ascend(log_BK, label_B, log_weight_K, aim)
    centred_K: Numbers = log_weight_K - log_weight_K.mean()
    return centred_K


def _ascend(log_BK: Numbers, label_B: Labels, log_weight_K: Numbers, aim: Aim) -> None:
    for _ in range(PASSES):
        moved = False
        for label in range(len(log_weight_K)):
            move = _move(log_BK + log_weight_K, label_B, label, aim)
            log_weight_K[label] += move
            moved = moved or move != 0
        if not moved:
            return


def _move(log_BK: Numbers, label_B: Labels, label: int, aim: Aim) -> float:
    """By how much a label's log-weight is best moved, all others as they are."""
    found, other_B = _led(log_BK, label)
    if aim.measure == "accuracy":
        return found.best(_accuracy(found, label_B, other_B, label))
    if aim.measure == "f1":
        return found.best(f1(counts(found, label_B == label)))
    return found.best(_macro_f1(found, label_B, other_B, label, log_BK.shape[1]))


def _at_level(log_BK: Numbers, label_B: Labels, aim: Aim, name: str) -> tuple[float, str]:
    assert aim.label is not None
    assert aim.level is not None
    found, _ = _led(log_BK, aim.label)
    of = counts(found, label_B == aim.label)
    value = (precision_at if aim.measure == "precision" else recall_at)(aim.level)(of)
    if not np.isnan(value).all():
        return found.best(value), ""
    most = most_precision(of)
    what = f"no threshold reaches {aim}" + (f"; the highest is {most:.4f}" if of.true else "")
    return found.best(of.hits_M / np.maximum(of.said_M, 1)), f"label {name!r}: {what}"


def _led(log_BK: Numbers, label: int) -> tuple[Sweep, Labels]:
    """The moves of a label, and which of the others each row says without it."""
    others_BK = log_BK.copy()
    others_BK[:, label] = -np.inf
    other_B = others_BK.argmax(axis=1)
    most_B = np.take_along_axis(others_BK, other_B[:, None], axis=1)[:, 0]
    return sweep(log_BK[:, label] - most_B), other_B


def _accuracy(found: Sweep, label_B: Labels, other_B: Labels, label: int) -> Numbers:
    was_B = label_B == other_B
    gain_B = ((label_B == label).astype(np.int64) - was_B)[found.order_B]
    right = was_B.sum() + np.concatenate([[0], gain_B.cumsum()])
    right_M: Numbers = right[found.count_M] / len(label_B)
    return right_M


def _macro_f1(found: Sweep, label_B: Labels, other_B: Labels, label: int, outputs: int) -> Numbers:
    """Mean F1 of the labels that occur, in the rows or in the answers, as `metrics` has it."""
    right_B, said_B = label_B[found.order_B], other_B[found.order_B]
    true_K = np.bincount(right_B, minlength=outputs)
    sum_f1, sum_occurs = np.zeros(len(label_B) + 1), np.zeros(len(label_B) + 1)
    for each in range(outputs):
        if each == label:
            place = np.arange(len(label_B))
            said = np.arange(len(label_B) + 1)
            hits = np.concatenate([[0], (right_B == label).cumsum()])
        else:
            place = np.flatnonzero(said_B == each)
            is_hit = right_B[place] == each
            said = len(place) - np.arange(len(place) + 1)
            hits = is_hit.sum() - np.concatenate([[0], is_hit.cumsum()])
        both = said + true_K[each]
        for total, values in ((sum_f1, 2 * hits / np.maximum(both, 1)), (sum_occurs, both > 0)):
            steps = values.astype(np.float64)
            total[0] += steps[0]
            total[place + 1] += np.diff(steps)
    value_M: Numbers = (sum_f1.cumsum() / sum_occurs.cumsum())[found.count_M]
    return value_M
