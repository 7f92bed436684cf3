"""How answers are decided upon, where `trivium calibrate` found something better than the most
probable label: what it writes into a model's folder, and what follows from it.

Two things are kept apart. What is *told* is a probability: the readout, softened by a temperature
(Guo et al. 2017, section 4.2), moved to another share of labels (Saerens et al. 2002, equation 4).
What is *answered* follows from that by weights, thresholds or costs. Shape letters: see
`trivium.types`; arrays are NumPy's, and computed in float64.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from trivium.errors import did_you_mean
from trivium.part import Part

Numbers = NDArray[np.float64]

ABSTAINED = ""
"""The answer where none is given."""
SMALLEST = float(np.finfo(np.float32).tiny)
"""What a probability that fp32 rounds to 0 is taken for, so that its logarithm is a number."""


class Decide(Part):
    """How a task's answers are decided upon. Labels go by the names that are answered."""

    temperature: float = Field(default=1.0, gt=0)
    """Above 1 it makes probabilities less sure of themselves, below 1 more."""
    prior: dict[str, float] = Field(default_factory=dict)
    """Of one label: what each one's probability is multiplied by, before they are rescaled to 1. Of
    several: what each one's odds are multiplied by."""
    weights: dict[str, float] = Field(default_factory=dict)
    """Of one label: the answer is the label whose probability times this is the largest."""
    costs: dict[str, dict[str, float]] = Field(default_factory=dict)
    """Of one label: true label -> answer -> what that costs; the answer is what costs least, by
    the probabilities."""
    thresholds: dict[str, float] = Field(default_factory=dict)
    """Of several labels: the probability from which each one is part of the answer."""
    abstain: float | None = Field(default=None, ge=0, le=1)
    """Rows whose answer is less certain than this are not answered."""

    @model_validator(mode="after")
    def _numbers_above_0(self) -> "Decide":
        for field in ("prior", "weights", "thresholds"):
            for name, number in getattr(self, field).items():
                if number <= 0:
                    raise ValueError(f"{field}: {name!r} must be above 0, found {number}")
        return self

    def misfit(self, names: Sequence[str]) -> str:
        """What it says of labels that a task with these names has not, in words; or nothing."""
        for field in ("prior", "weights", "costs", "thresholds"):
            said: Mapping[str, object] = getattr(self, field)
            for name in said:
                if name not in names:
                    return f"{field}: no label {name!r}{did_you_mean(name, names)}"
        for true, row in self.costs.items():
            if set(row) != set(names) or set(self.costs) != set(names):
                return f"costs: {true!r}: wants a number for every label"
        return ""


@dataclass(frozen=True, slots=True)
class Decided:
    """What was decided of B rows."""

    told_BK: Numbers
    """Each label's probability."""
    said: NDArray[np.int64] | NDArray[np.bool_]
    """The answer, had there to be one: label_B, or applies_BK where several labels may apply."""
    confidence_B: Numbers
    """Probability that it is right; of several labels that all are, if they were independent."""
    answered_B: NDArray[np.bool_]

    @staticmethod
    def joined(parts: Sequence["Decided"], places: Sequence[NDArray[np.int64]]) -> "Decided":
        """Of rows that were decided upon part by part, in their own order."""
        order_B = np.argsort(np.concatenate(places), kind="stable")
        return Decided(
            np.concatenate([part.told_BK for part in parts])[order_B],
            np.concatenate([part.said for part in parts])[order_B],
            np.concatenate([part.confidence_B for part in parts])[order_B],
            np.concatenate([part.answered_B for part in parts])[order_B],
        )


def one_label(decide: Decide, names: Sequence[str], readout_BK: NDArray[np.floating]) -> Decided:
    """readout_BK: probabilities of labels of which one applies."""
    told_BK = softened(decide, names, readout_BK)
    if decide.costs:
        cost_KK = np.array([[decide.costs[true][said] for said in names] for true in names])
        said_B = (told_BK @ cost_KK).argmin(axis=1)
    elif decide.weights:
        said_B = (told_BK * _by_name(decide.weights, names, 1.0)).argmax(axis=1)
    else:
        said_B = told_BK.argmax(axis=1)
    confidence_B = np.take_along_axis(told_BK, said_B[:, None], axis=1)[:, 0]
    return Decided(told_BK, said_B, confidence_B, confidence_B >= (decide.abstain or 0.0))


def several_labels(
    decide: Decide, names: Sequence[str], threshold: float, readout_BK: NDArray[np.floating]
) -> Decided:
    """readout_BK: of each label the probability that it applies; threshold: of labels that have
    none of their own."""
    told_BK = loosened(decide, names, readout_BK)
    # Readouts are fp32, and without `decide` a threshold is compared in that, too.
    own = float(np.float32(threshold))
    said_BK = told_BK >= _by_name(decide.thresholds, names, own)
    confidence_B = np.where(said_BK, told_BK, 1 - told_BK).prod(axis=1)
    return Decided(told_BK, said_BK, confidence_B, confidence_B >= (decide.abstain or 0.0))


def softened(decide: Decide, names: Sequence[str], readout_BK: NDArray[np.floating]) -> Numbers:
    """p^(1/T) times the prior, rescaled to a sum of 1."""
    if decide.temperature == 1 and not decide.prior:
        return readout_BK.astype(np.float64)
    logit_BK = logarithm(readout_BK) / decide.temperature
    logit_BK = logit_BK + np.log(_by_name(decide.prior, names, 1.0))
    odds_BK = np.exp(logit_BK - logit_BK.max(axis=1, keepdims=True))
    told_BK: Numbers = odds_BK / odds_BK.sum(axis=1, keepdims=True)
    return told_BK


def loosened(decide: Decide, names: Sequence[str], readout_BK: NDArray[np.floating]) -> Numbers:
    """As `softened`, each label by itself: between that it applies, and that it does not."""
    if decide.temperature == 1 and not decide.prior:
        return readout_BK.astype(np.float64)
    logit_BK = log_odds(readout_BK) / decide.temperature
    logit_BK = logit_BK + np.log(_by_name(decide.prior, names, 1.0))
    # Of large numbers of either sign neither half overflows.
    small_BK = np.exp(-np.abs(logit_BK))
    told_BK: Numbers = np.where(logit_BK >= 0, 1.0, small_BK) / (1 + small_BK)
    return told_BK


def threshold_at(temperature: float, threshold: float) -> float:
    """The probability that is told, at a temperature, where a label's readout is the threshold: the
    same labels reach it, sigmoid(logit(threshold) / T)."""
    if temperature == 1:
        return threshold
    found = loosened(Decide(temperature=temperature), [""], np.array([[threshold]], np.float32))
    return float(found[0, 0])


def logarithm(probability: NDArray[np.floating]) -> Numbers:
    """ln p, in float64; finite where p is 0."""
    return np.log(np.maximum(probability.astype(np.float64), SMALLEST))


def log_odds(probability: NDArray[np.floating]) -> Numbers:
    """ln (p / (1 - p)), in float64; finite where p is 0 or 1."""
    p = probability.astype(np.float64)
    return logarithm(p) - logarithm(1 - p)


def _by_name(given: Mapping[str, float], names: Sequence[str], other: float) -> Numbers:
    return np.array([given.get(name, other) for name in names], dtype=np.float64)
