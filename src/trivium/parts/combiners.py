"""Combiners: one update from several tasks' gradients. To add one: a class, a line in `Combiner`.

A combiner sees the Gram matrix of the tasks' encoder gradients, gram_TT[i, j] = <g_i, g_j>, and
answers with a weight per task; the encoder's update is sum_t weight_T[t] * g_t. Heads keep their
own task's gradient.
"""

from abc import abstractmethod
from typing import Literal

import torch
from torch import Tensor

from trivium.part import Part
from trivium.types import Step


class CombinerPart(Part):
    @property
    def needs_gram(self) -> bool:
        """False where the weights are known beforehand: then no task's gradient is kept apart."""
        return True

    @abstractmethod
    def weigh(self, gram_TT: Tensor, step: Step) -> Tensor:
        """Weight per task: gram_TT -> weight_T."""


class Sum(CombinerPart):
    """The gradient of the (weighted) sum of the losses."""

    kind: Literal["sum"] = "sum"

    @property
    def needs_gram(self) -> bool:
        return False

    def weigh(self, gram_TT: Tensor, step: Step) -> Tensor:
        return torch.ones_like(gram_TT[0])


Combiner = Sum  # with its second member: Annotated[Sum | ..., Field(discriminator="kind")]
