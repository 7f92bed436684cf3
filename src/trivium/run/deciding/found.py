"""What is best decided by on some rows: temperature, then thresholds or costs, then abstention."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trivium.answering.decide import Decide, Decided, Numbers, logarithm, threshold_at
from trivium.parts.tasks import Labelled, Multilabel
from trivium.run.deciding.abstaining import abstention_level
from trivium.run.deciding.aims import Aim
from trivium.run.deciding.costs import Costs, thresholds_of
from trivium.run.deciding.shares import biases_of_one, biases_of_several
from trivium.run.deciding.temperature import LEAST, best_temperature
from trivium.run.deciding.thresholds import best_thresholds, can_be_told
from trivium.run.deciding.weights import best_weights, untold

TOLD_APART = (
    "the temperature is left at 1: these rows are all answered right, or nearly so, and cannot "
    "tell how sure is too sure; more rows can"
)

TOO_NEAR = (
    "the temperature is left at 1: by {temperature:g}, which is the likeliest, the task's "
    "threshold of {threshold:g} would be too near to 0 or 1 to be told from it"
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a task's answers are to be decided by."""

    aim: Aim
    """Of thresholds; `none` where there are costs."""
    costs: Costs = field(default_factory=dict)
    answer_where: float | None = None
    """Share of right answers among those given."""
    biased: bool = False
    """Whether probabilities shall be right on the mean of the rows for every label, too: so they
    must be before other shares of labels are estimated by them."""


@dataclass(frozen=True, slots=True)
class Found:
    decide: Decide
    unreached: list[str] = field(default_factory=list)
    """What was asked for and cannot be had, in words."""
    notes: list[str] = field(default_factory=list)


def find(task: Labelled, readout_BK: Tensor, target_B: Tensor, wanted: Wanted) -> Found:
    """What is best on these rows, of which there is one at least.

    task: as trained; readout_BK, target_B: as `Task.scores` takes them.
    """
    log_BK, label_B = as_choices(task, readout_BK.numpy(), target_B)
    temperature = best_temperature(log_BK, label_B)
    problem = _no_temperature(task, temperature)
    decide = Decide(temperature=1.0 if problem else temperature)
    if wanted.biased:
        decide = _biased(task, decide, readout_BK, target_B)
    found = _answering(task, decide, readout_BK, target_B, wanted)
    decide, unreached = found.decide, found.unreached
    notes = [*found.notes, problem] if problem else found.notes
    if wanted.answer_where is not None:
        decided = task.deciding(decide).decided(readout_BK)
        right_B = task.right(decided, target_B).numpy()
        level, missed = abstention_level(decided, right_B, wanted.answer_where)
        unreached += [missed] if missed else []
        decide = decide.model_copy(update={"abstain": level})
    return Found(decide, unreached, notes)


def _no_temperature(task: Labelled, temperature: float) -> str:
    """Why it is not taken, in words; or nothing."""
    if temperature <= LEAST:  # the lower, the likelier, without end: all would be called certain
        return TOLD_APART
    if isinstance(task, Multilabel) and not can_be_told(threshold_at(temperature, task.threshold)):
        return TOO_NEAR.format(temperature=temperature, threshold=task.threshold)
    return ""


def _answering(
    task: Labelled, decide: Decide, readout_BK: Tensor, target_B: Tensor, wanted: Wanted
) -> Found:
    """With thresholds, weights or costs, by the probabilities as they are told so far."""
    told_BK = task.deciding(decide).decided(readout_BK).told_BK
    if isinstance(task, Multilabel):
        notes: list[str] = []
        # The temperature moves what is told, and shall change no answer.
        own = threshold_at(decide.temperature, task.threshold)
        thresholds = thresholds_of(wanted.costs)
        if not wanted.costs:
            applies_BK = (target_B > 0).numpy()
            thresholds, notes = best_thresholds(told_BK, applies_BK, task.names, own, wanted.aim)
        if own != task.threshold:
            thresholds = dict.fromkeys(task.names, own) | thresholds
        return Found(decide.model_copy(update={"thresholds": thresholds}), [], notes)
    if wanted.costs:
        return Found(decide.model_copy(update={"costs": wanted.costs}))
    label_B = target_B.numpy()
    weights, problem = best_weights(told_BK, label_B, task.names, wanted.aim)
    return Found(
        decide.model_copy(update={"weights": weights}),
        [problem] if problem else [],
        untold(label_B, task.names, wanted.aim),
    )


def _biased(task: Labelled, decide: Decide, readout_BK: Tensor, target_B: Tensor) -> Decide:
    told_BK = task.deciding(decide).decided(readout_BK).told_BK
    of = biases_of_several if isinstance(task, Multilabel) else biases_of_one
    return decide.model_copy(
        update={"prior": of(told_BK, label_shares(task, target_B), task.names)}
    )


def find_by_folds(
    task: Labelled,
    readout_BK: Tensor,
    target_B: Tensor,
    wanted: Wanted,
    fold_B: NDArray[np.int64],
) -> Decided:
    """What is decided of every row by what is best on the rows of the other folds."""
    parts, places = [], []
    for fold in np.unique(fold_B):
        own, others = np.flatnonzero(fold_B == fold), np.flatnonzero(fold_B != fold)
        found = find(task, readout_BK[others], target_B[others], wanted)
        parts.append(task.deciding(found.decide).decided(readout_BK[own]))
        places.append(own)
    return Decided.joined(parts, places)


def as_choices(
    task: Labelled, probability_BK: NDArray[np.floating], target_B: Tensor
) -> tuple[Numbers, NDArray[np.int64]]:
    """Log-probabilities of choices of which one is right, and the right ones; several labels a row
    are as many choices between no and yes."""
    if not isinstance(task, Multilabel):
        return logarithm(probability_BK), target_B.numpy()
    p_N = probability_BK.astype(np.float64).flatten()
    log_N2 = np.stack([logarithm(1 - p_N), logarithm(p_N)], axis=1)
    return log_N2, (target_B > 0).numpy().flatten().astype(np.int64)


def cost_of(
    task: Labelled, decided: Decided, target_B: Tensor, costs: Costs, names: Sequence[str]
) -> float:
    """What the answers cost, a row's mean, had every row been answered."""
    if isinstance(task, Multilabel):
        applies_BK, said_BK = (target_B > 0).numpy(), decided.said.astype(bool)
        missed_K = np.array([costs[name]["missed"] for name in names])
        false_K = np.array([costs[name]["false_alarm"] for name in names])
        cost_BK = (applies_BK & ~said_BK) * missed_K + (~applies_BK & said_BK) * false_K
        return float(cost_BK.sum(axis=1).mean())
    cost_KK = torch.tensor(
        [[costs[true][said] for said in names] for true in names], dtype=torch.float64
    )
    return float(cost_KK[target_B, torch.from_numpy(decided.said)].mean())


def label_shares(task: Labelled, target_B: Tensor) -> Numbers:
    """How often each label stands in the rows: share_K."""
    if isinstance(task, Multilabel):
        share_K = (target_B > 0).double().mean(dim=0).numpy()
        return np.asarray(share_K)
    return np.bincount(target_B.numpy(), minlength=len(task.names)) / len(target_B)
