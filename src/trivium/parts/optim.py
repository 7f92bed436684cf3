"""Optimizers and schedules. To add one: a class, and a line in `Optimizer` or `Schedule`."""

import math
import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, field_validator
from torch import nn
from torch.autograd.graph import increment_version

from trivium.model.native import adamw as native
from trivium.model.ownership import (
    behind_head_owner,
    behind_side_task,
    head_owner,
    is_adapter_parameter,
)
from trivium.part import Part
from trivium.parts.trainable import layer_of

USUAL_HEADS = 1e-3
"""Of heads, and of adapters, that nothing else is known of."""


class LearningRates(Part):
    """Peak learning rates. A plain number in a recipe means the same for all."""

    encoder: float = Field(default=5e-5, ge=0)
    """Of the encoder's top layer and pooler; of all of it while `layer_decay` is 1."""
    heads: float | dict[str, float] | None = None
    """One for all, or one per task (and per trunk), where those not named keep their default: 1e-2
    of a linear layer that answers with one of several labels, and 1e-3 of all others. `trivium
    check` and the run's own recipe say what became of it, docs/defaults.md why."""
    adapters: float | None = Field(default=None, ge=0)
    """Of LoRA and of per-task side modules; by default that of the heads where the recipe says one
    number, since they are as new, and else 1e-3. (Hu et al. 2022 mostly use 1e-4 to 5e-4 for LoRA,
    Stickland & Murray 2019 the encoder's rate for projected attention.)"""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """d: each layer learns at d times the rate of the layer above it (Howard & Ruder 2018, section
    3.2, where d is 1/2.6; Clark et al. 2020, appendix B). Layer l of n, counted from 0, gets
    encoder * d^(n-1-l), and the embeddings, as one layer more, encoder * d^n."""

    @field_validator("heads")
    @classmethod
    def _not_negative(cls, value: Any) -> Any:
        for rate in value.values() if isinstance(value, dict) else [value or 0]:
            if rate < 0:
                raise ValueError(f"a learning rate is 0 or more, not {rate:g}")
        return value

    def rate(self, name: str, layers: int) -> float:
        """Of an encoder parameter; layers: the encoder's. Adapters have one rate in all layers."""
        if is_adapter_parameter(name):
            return self.adapter_rate
        if self.layer_decay == 1:
            return self.encoder
        return self.encoder * self.layer_decay ** (layers - 1 - layer_of(name, layers))

    @property
    def adapter_rate(self) -> float:
        if self.adapters is not None:
            return self.adapters
        return self.heads if isinstance(self.heads, int | float) else USUAL_HEADS

    def head_rate(self, owner: str) -> float:
        """Of a task's head, or of a trunk."""
        if isinstance(self.heads, dict):
            return self.heads.get(owner, USUAL_HEADS)
        return USUAL_HEADS if self.heads is None else self.heads


Beta = Annotated[float, Field(ge=0, lt=1)]


class AdamW(Part):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2).

    The course's own, of minBERT: `{weight_decay: 0, eps: 1e-6, decay: all}` and the stage's
    `clip: null`. That one adds eps before it corrects the second moment for its start (Kingma & Ba
    2015, end of section 2), so its eps of step t is ours times (1 - beta_2^t)^(-1/2).
    """

    kind: Literal["adamw"] = "adamw"
    weight_decay: float = Field(default=0.01, ge=0)
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    eps: float = Field(default=1e-8, gt=0)
    decay: Literal["weights", "all"] = "weights"
    """What decays: matrices, which is BERT's way (Devlin et al. 2019, its code), or also biases,
    LayerNorm and single numbers."""

    def build(
        self,
        encoder: Iterable[tuple[str, nn.Parameter]],
        heads: Iterable[tuple[str, nn.Parameter]],
        lr: LearningRates,
        layers: int | None = None,
    ) -> torch.optim.Optimizer:
        """Groups by learning rate and decay; a group's `base_lr` is its peak rate.

        encoder: its own parameters and adapters, by name; layers: how many it has, by default as
        many as the names tell. The encoder's groups come first, then adapters', then heads', each
        in the order of the parameters: resume files count on it.
        """
        named = list(encoder)
        layers = _layers(name for name, _ in named) if layers is None else layers
        rated = [(lr.rate(name, layers), name, p) for name, p in named]
        own = [each for each in rated if not is_adapter_parameter(each[1])]
        # What decays follows from names, of which what users call their tasks is no part.
        added = [
            (rate, behind_side_task(name), p)
            for rate, name, p in rated
            if is_adapter_parameter(name)
        ]
        rest = [(lr.head_rate(head_owner(n)), behind_head_owner(n), p) for n, p in heads]
        groups = [group for part in (own, added, rest) for group in self._groups(part)]
        trained = [parameter for group in groups for parameter in group["params"]]
        if (found := native.fitting(trained)) is not None:
            return native.AdamW(groups, found, betas=self.betas, eps=self.eps)
        optimizer = torch.optim.AdamW(groups, betas=self.betas, eps=self.eps, fused=True)
        # The fused kernel changes parameters without counting it in their version, by which
        # `model.kernels` knows that its bf16 copies are out of date. It leaves alone those
        # without a gradient: the copies of layers that do not train yet are kept.
        optimizer.register_step_post_hook(
            lambda *_: increment_version([p for p in trained if p.grad is not None])
        )
        return optimizer

    def _groups(self, rated: Sequence[tuple[float, str, nn.Parameter]]) -> list[dict[str, Any]]:
        """One group per rate and decay; rates in the order in which they first appear."""
        groups: list[dict[str, Any]] = []
        for rate in dict.fromkeys(rate for rate, _, _ in rated):
            for decays in (True, False):
                chosen = [
                    p for r, name, p in rated if r == rate and self._decays(name, p) is decays
                ]
                if chosen:
                    decay = self.weight_decay if decays else 0.0
                    groups.append(
                        {"params": chosen, "lr": rate, "base_lr": rate, "weight_decay": decay}
                    )
        return groups

    def _decays(self, name: str, parameter: nn.Parameter) -> bool:
        return self.decay == "all" or _is_matrix(name, parameter)


Optimizer = AdamW  # with its second member: Annotated[AdamW | ..., Field(discriminator="kind")]


def _layers(names: Iterable[str]) -> int:
    """How many layers an encoder has, told from its parameters' names."""
    found = (re.match(r"encoder\.layer\.(\d+)\.", name) for name in names)
    return max((int(match[1]) + 1 for match in found if match), default=0)


def _is_matrix(name: str, parameter: nn.Parameter) -> bool:
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

    def notes(self, steps: int) -> Iterator[str]:
        """What in so many steps may not do what was meant, a sentence each."""
        if self.warmup >= 1 and 0 < steps <= (warmup := self.warmup_steps(steps)):
            yield (
                f"its {steps:,} steps end within its warm-up of {warmup:,}, so that its learning "
                "rates are never reached; a `warmup` below 1 is a share of the steps there are"
            )

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
