"""Optimizers and schedules. To add one: a class, and a line in `Optimizer` or `Schedule`."""

import math
from abc import abstractmethod
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn
from torch.autograd.graph import increment_version

from trivium.part import Part


class LearningRates(Part):
    """Peak learning rates. A plain number in a recipe means the same for both."""

    encoder: float = Field(default=5e-5, ge=0)
    heads: float = Field(default=1e-3, ge=0)


Beta = Annotated[float, Field(ge=0, lt=1)]


class AdamW(Part):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019), none on biases and LayerNorm."""

    kind: Literal["adamw"] = "adamw"
    weight_decay: float = Field(default=0.01, ge=0)
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    eps: float = Field(default=1e-8, gt=0)

    def build(
        self,
        encoder: Iterable[tuple[str, nn.Parameter]],
        heads: Iterable[tuple[str, nn.Parameter]],
        lr: LearningRates,
    ) -> torch.optim.Optimizer:
        """Groups by learning rate and decay; a group's `base_lr` is its peak rate."""
        groups: list[dict[str, Any]] = []
        for parameters, rate in ((list(encoder), lr.encoder), (list(heads), lr.heads)):
            for decays in (True, False):
                chosen = [p for name, p in parameters if _decays(name, p) is decays]
                if chosen:
                    decay = self.weight_decay if decays else 0.0
                    groups.append(
                        {"params": chosen, "lr": rate, "base_lr": rate, "weight_decay": decay}
                    )
        optimizer = torch.optim.AdamW(groups, betas=self.betas, eps=self.eps, fused=True)
        # The fused kernel changes parameters without counting it in their version, by which
        # `model.kernels` knows that its bf16 copies are out of date.
        trained = [parameter for group in groups for parameter in group["params"]]
        optimizer.register_step_post_hook(lambda *_: increment_version(trained))
        return optimizer


Optimizer = AdamW  # with its second member: Annotated[AdamW | ..., Field(discriminator="kind")]


def _decays(name: str, parameter: nn.Parameter) -> bool:
    return parameter.dim() > 1 and "LayerNorm" not in name and not name.endswith("bias")


class SchedulePart(Part):
    warmup: float = Field(default=0.0, ge=0)
    """Linear warm-up: below 1 a share of the stage's steps, otherwise a number of steps."""

    def factor(self, step: int, total: int, epoch: int) -> float:
        """What the learning rate is multiplied with at a step counted from 0, epoch from 1."""
        warmup = self.warmup_steps(total)
        if step < warmup:
            return step / warmup
        return self.decay((step - warmup) / max(1, total - warmup), epoch)

    def warmup_steps(self, total: int) -> int:
        return math.ceil(self.warmup * total) if self.warmup < 1 else int(self.warmup)

    @abstractmethod
    def decay(self, done: float, epoch: int) -> float:
        """After the warm-up; `done` runs from 0 to 1."""


class Constant(SchedulePart):
    kind: Literal["constant"] = "constant"

    def decay(self, done: float, epoch: int) -> float:
        return 1.0


class Linear(SchedulePart):
    """Down to zero in a straight line."""

    kind: Literal["linear"] = "linear"

    def decay(self, done: float, epoch: int) -> float:
        return max(0.0, 1.0 - done)


class Cosine(SchedulePart):
    """Down to zero along half a cosine."""

    kind: Literal["cosine"] = "cosine"

    def decay(self, done: float, epoch: int) -> float:
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))


class StepDecay(SchedulePart):
    """lr * gamma every `every` epochs."""

    kind: Literal["step"] = "step"
    gamma: float = Field(default=0.5, gt=0, le=1)
    every: int = Field(default=1, gt=0)
    """Epochs."""

    def decay(self, done: float, epoch: int) -> float:
        return float(self.gamma ** ((epoch - 1) // self.every))


Schedule = Annotated[Constant | Linear | Cosine | StepDecay, Field(discriminator="kind")]
