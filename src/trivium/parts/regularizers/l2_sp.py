"""L2-SP: weights that stay near where they were when training began."""

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from trivium.model.multitask import MultiTaskModel
from trivium.parts.regularizers.base import Context, RegularizerPart
from trivium.types import Step

_OF_THE_ENCODER = "encoder."


class L2SP(RegularizerPart):
    """Starting point as reference (Li et al. 2018, equation 3):
    penalty = alpha / 2 |w - w0|^2 + beta / 2 |v|^2.

    w is what the encoder's checkpoint has, w0 its weights there; v is what is new: heads, trunks,
    adapters (LoRA's matrices too), and a pooler that came with no checkpoint. w0 are the weights at
    the start of the run, and not of the stage: so later stages are held to the checkpoint as well.

    It is about weights and not about rows: its gradient is added once a step, before clipping,
    whatever the tasks' weights and their combiner; to those tensors that learn and that the step's
    batches reach. The word embedding's gradient is whole under it, so that its rows are not read
    one by one. AdamW's own weight decay pulls towards 0 beside it; set it to 0 for the paper's.
    """

    kind: Literal["l2_sp"] = "l2_sp"
    alpha: float = Field(default=0.1, ge=0)
    """Towards the checkpoint's weights."""
    beta: float = Field(default=0.01, ge=0)
    """Towards 0, of what is new."""

    @model_validator(mode="after")
    def _is_about_weights(self) -> "L2SP":
        if self.tasks or isinstance(self.weight, dict):
            name = "tasks" if self.tasks else "weight"
            raise ValueError(
                f"{name}: l2_sp is about the model's weights, of which tasks have none of their "
                "own but heads; give one `weight` for all"
            )
        return self

    @property
    def about_weights(self) -> bool:
        return True

    @property
    def weight_copies(self) -> int:
        return 1

    def applies(self, task: str) -> bool:
        return False

    def penalty(self, context: Context) -> None:
        raise AssertionError("callers look at `applies` first")

    @torch.no_grad()
    def pull(self, model: MultiTaskModel, start: Mapping[str, Tensor], step: Step) -> float:
        total = []
        for name, parameter in model.named_parameters():
            if parameter.grad is None:
                continue
            key = name.removeprefix(_OF_THE_ENCODER) if name.startswith(_OF_THE_ENCODER) else ""
            origin, weight = start.get(key), self.weight_of("")
            weight *= self.beta if origin is None else self.alpha
            if weight == 0:
                continue
            away = parameter.detach().clone() if origin is None else parameter.detach() - origin
            total.append(weight / 2 * away.square().sum())
            # In this order it has the same bits whether the gradient is sparse or not.
            parameter.grad = away.mul_(weight).add_(parameter.grad)
        return float(torch.stack(total).sum()) if total else 0.0
