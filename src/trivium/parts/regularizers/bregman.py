"""SMART's second half: answers that stay near those of the weights' own average."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from trivium.model.multitask import MultiTaskModel
from trivium.parts.regularizers.base import Context, RegularizerPart
from trivium.parts.regularizers.passes import answer, embed_alike, standing_in
from trivium.types import Step


class Bregman(RegularizerPart):
    """Momentum Bregman proximal point (Jiang et al. 2020, the method's second part).

    penalty = l_s(f(x; w), f(x; v)): l_s is the task's divergence and v an exponential average of
    the weights w, v <- b * v + (1 - b) * w after every step. v starts at w; to the gradient it is
    a constant. It is kept, for the parameters that are trained, in the step's memory under
    `bregman.<parameter's name>`.

    Both passes share their dropout masks, so the penalty is 0 where v = w. The second pass costs
    a forward, a third of a plain step.
    """

    kind: Literal["bregman"] = "bregman"
    beta: float = Field(default=0.999, ge=0, lt=1)
    """b in the average."""
    beta_first: float = Field(default=0.99, ge=0, lt=1)
    """In its place while the weights still move fast."""
    first: float = Field(default=0.1, ge=0, le=1)
    """Share of the stage's steps that `beta_first` is for."""

    @property
    def weight_copies(self) -> int:
        return 1

    def penalty(self, context: Context) -> Tensor:
        averages = _averages(context.model, context.step.memory)
        # They require gradients, for which nobody asks, because the weights do: by that the kernels
        # choose how they draw dropout and how they round.
        constants = {p: average.detach().requires_grad_() for p, average in averages.items()}
        with standing_in(context.model, constants):
            other_BK = answer(context, embed_alike(context))
        return context.task.divergence(context.output_BK, other_BK.detach())

    def after_step(self, model: MultiTaskModel, step: Step) -> None:
        averages = _averages(model, step.memory)
        beta = self.beta_first if step.index < self.first * step.total else self.beta
        with torch.no_grad():
            for parameter, average in averages.items():
                average.lerp_(parameter, 1.0 - beta)


def _averages(model: nn.Module, memory: dict[str, Tensor]) -> dict[nn.Parameter, Tensor]:
    """The average of each trained parameter; a new one starts where the parameter is."""
    found = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            kept = memory.get(f"bregman.{name}")
            # A resumed run finds it on the CPU.
            average = parameter.detach().clone() if kept is None else kept.to(parameter.device)
            memory[f"bregman.{name}"] = found[parameter] = average
    return found
