"""R-Drop: two passes under different dropout masks that shall agree."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, model_validator
from torch import Tensor

from trivium.parts.facts import StageFacts
from trivium.parts.regularizers.base import Context, RegularizerPart


class RDrop(RegularizerPart):
    """R-Drop (Liang et al. 2021, equation 4), halved so that a task keeps its weight.

    Theirs: L_1 + L_2 + alpha * (KL(p_1 || p_2) + KL(p_2 || p_1)) / 2, the losses and distributions
    of two passes. Half of that, with l_s the task's divergence (the sum of both KL; for scores the
    squared difference): (L_1 + L_2) / 2 + alpha / 4 * l_s. The loss is L_1 already, so
    penalty = (L_2 - L_1) / 2 + alpha / 4 * l_s. Below a weight of 1 the second pass counts less.

    L_1 and L_2 are what the two passes cost in the stage (`Context.loss`): theirs are both the
    task's training loss, their equation 1. So under `distill` they are the mixed loss, s *
    imitation + (1 - s) * loss of the labels, and the second pass imitates as the first one does.

    The second pass draws new masks from the embeddings on. A step costs twice a plain one.
    """

    kind: Literal["rdrop"] = "rdrop"
    alpha: float = Field(default=1.0, ge=0)
    """How much the two passes must agree."""

    @model_validator(mode="after")
    def _keeps_the_first_loss(self) -> "RDrop":
        weights = self.weight.values() if isinstance(self.weight, dict) else [self.weight]
        if max(weights, default=0.0) > 1:
            raise ValueError(
                f"weight: must be at most 1, found {max(weights):g}: above it, the second pass "
                "would outweigh the first. Set `alpha` for how much the two must agree"
            )
        return self

    @property
    def extra_passes(self) -> int:
        return 1

    @property
    def label_losses(self) -> int:
        return 1

    def notes(self, facts: StageFacts) -> Iterator[str]:
        if facts.dropout == 0:
            yield "rdrop compares two dropout masks, but this encoder has no dropout"

    def penalty(self, context: Context) -> Tensor:
        other_BK: Tensor = context.model(context.batch)
        second = context.loss(other_BK)
        first = context.loss(context.output_BK)
        divergence = context.task.divergence(context.output_BK, other_BK)
        return (second - first) / 2 + self.alpha / 4 * divergence
