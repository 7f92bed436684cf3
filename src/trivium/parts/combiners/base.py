"""What every combiner answers, and the plain sum.

A combiner sees the Gram matrix of the tasks' encoder gradients, gram_TT[i, j] = <g_i, g_j>, and
answers with a weight per task. The encoder's update is sum_t weight_T[t] * g_t: a sum of the tasks'
gradients, not their average. Heads keep their own task's gradient, with no weight but `factor`.

Papers scale their updates differently. Here all share one scale, that of `sum`, so that a learning
rate means the same under each: equally long gradients at right angles to one another get weight 1
each, and a task that is alone in a step keeps its gradient.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from trivium.part import Part
from trivium.parts.facts import StageFacts
from trivium.types import Step

VANISHED = 1e-30
"""A gradient shorter than this share of the longest has no direction worth a division."""
NOISE = 1e-8
"""Eigenvalues of cosines below this say nothing: single-precision gradients are no more exact."""


class CombinerPart(Part):
    @property
    def needs_gram(self) -> bool:
        """False where the weights are known beforehand: then no task's gradient is kept apart."""
        return True

    @abstractmethod
    def weigh(self, gram_TT: Tensor, step: Step) -> Tensor:
        """Weight per task: gram_TT (on the CPU, float64) -> weight_T, in the order of `step.tasks`.

        Weights are finite for every Gram matrix, singular or of any scale. One that is not finite
        itself gets weights of 1, so that the update shows it as the plain sum would.
        """

    def factor(self, task: str, step: Step) -> float:
        """What a task's loss is multiplied with, for its head as well as for the encoder."""
        return 1.0

    @property
    def observes(self) -> bool:
        """Whether it learns from a step's losses, which then have to be known before the next."""
        return type(self).observe is not CombinerPart.observe

    def observe(self, losses: Mapping[str, float], step: Step) -> None:
        """Called after a step with the mean loss of each task it drew, before any weight."""

    def notes(self, facts: StageFacts) -> Iterator[str]:
        """What in such a stage may not do what was meant, a sentence each."""
        yield from ()


class SummingCombiner(CombinerPart):
    """The gradients are summed as they are; there may be factors on the losses."""

    @property
    def needs_gram(self) -> bool:
        return False

    def weigh(self, gram_TT: Tensor, step: Step) -> Tensor:
        return torch.ones_like(gram_TT[0])


class Sum(SummingCombiner):
    """The gradient of the (weighted) sum of the losses."""

    kind: Literal["sum"] = "sum"


@dataclass(frozen=True, slots=True)
class Directions:
    """A Gram matrix taken apart: lengths, the longest being 1, and the cosines between them.

    Combiners compute with unit gradients, which keeps every number near 1 whatever the losses'
    scales: sum_t share_T[t] * g_t / |g_t| is the same as weights share_T / norm_T.
    """

    norm_T: Tensor
    cosine_TT: Tensor

    @classmethod
    def of(cls, gram_TT: Tensor) -> "Directions":
        """gram_TT: no task's gradient may have vanished."""
        gram_TT = gram_TT / gram_TT.diagonal().max()
        norm_T = gram_TT.diagonal().sqrt()
        # Rounding may leave a product of two gradients above the product of their lengths.
        cosine_TT = (gram_TT / torch.outer(norm_T, norm_T)).clamp(-1.0, 1.0)
        return cls(norm_T, cosine_TT.fill_diagonal_(1.0))

    def definite(self) -> Tensor:
        """The cosines as a positive definite matrix: eigenvalues of at least `NOISE`."""
        value_T, vector_TT = torch.linalg.eigh(self.cosine_TT)
        if float(value_T[0]) >= NOISE:
            return self.cosine_TT
        definite_TT: Tensor = (vector_TT * value_T.clamp_min(NOISE)) @ vector_TT.T
        return definite_TT

    @property
    def middle(self) -> float:
        """Root mean square of the lengths."""
        return float(self.norm_T.square().mean().sqrt())

    def sum_of(self, mixed_TT: Tensor) -> Tensor:
        """Weights for the sum of changed gradients: mixed_TT -> weight_T.

        Row t is what g_t / |g_t| became, as coefficients on the unit gradients.
        """
        return (self.norm_T @ mixed_TT) / self.norm_T


class GramCombiner(CombinerPart):
    """Weights from the gradients' lengths and angles. A vanished gradient has no part in them."""

    def weigh(self, gram_TT: Tensor, step: Step) -> Tensor:
        gram_TT = gram_TT.double()
        weight_T = torch.ones_like(gram_TT[0])
        living_T = living(gram_TT)
        chosen = living_T.nonzero().flatten().tolist()
        if len(chosen) > 1:
            tasks = tuple(name for t, name in enumerate(step.tasks) if t in chosen)
            directions = Directions.of(gram_TT[chosen][:, chosen])
            weight_T[living_T] = self.combine(directions, replace(step, tasks=tasks))
        return weight_T

    @abstractmethod
    def combine(self, directions: Directions, step: Step) -> Tensor:
        """Weight per task of at least two, none of whose gradients has vanished."""


def living(gram_TT: Tensor) -> Tensor:
    """Which gradients have a direction: gram_TT -> living_T (bool); none in a non-finite matrix."""
    if not bool(gram_TT.isfinite().all()):
        return torch.zeros(len(gram_TT), dtype=torch.bool)
    norm_T = gram_TT.diagonal().clamp_min(0).sqrt()
    return norm_T > VANISHED * norm_T.max()
