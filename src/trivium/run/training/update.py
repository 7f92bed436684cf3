"""A step's update as a fixed sequence of operations on tensors that keep their place."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from trivium.model.copies import Renewed


@dataclass(frozen=True)
class Places:
    """What the graphs of a step read and write, and where it is."""

    optimizer: torch.optim.AdamW
    clip: float | None
    gradients: dict[nn.Parameter, Tensor]
    """Of all that the optimizer changes, in its order: zero between steps."""
    rates: Tensor
    """Learning rates of the optimizer's groups, fp32."""
    sums: Tensor
    """Of each task the sum of its batches' losses in this step, fp32: zero between steps."""
    report: Tensor
    """The sums and the gradient's norm of the step before, in fp64."""
    copies: Renewed | None = None
    """What is made of the parameters in low precision, where that is read and changes."""
    reached: dict[str, list[nn.Parameter]] = field(default_factory=dict)
    """By task, what its loss has a gradient of, in the optimizer's order."""

    @classmethod
    def of(
        cls,
        optimizer: torch.optim.AdamW,
        tasks: int,
        *,
        clip: float | None,
        copies: Renewed | None = None,
    ) -> "Places":
        """Fresh ones. tasks: how many."""
        changed = [p for group in optimizer.param_groups for p in group["params"]]
        device = changed[0].device
        return cls(
            optimizer,
            clip,
            {p: torch.zeros_like(p) for p in changed},
            torch.zeros(len(optimizer.param_groups), device=device),
            torch.zeros(tasks, device=device),
            torch.zeros(tasks + 1, dtype=torch.float64, device=device),
            copies,
        )

    def reached_by(self, tasks: Iterable[str]) -> list[nn.Parameter]:
        """What any of these tasks has a gradient of, in the optimizer's order."""
        found = {parameter for task in tasks for parameter in self.reached[task]}
        return [parameter for parameter in self.gradients if parameter in found]


class Update:
    """Of the parameters that some tasks reach: clipped, AdamW, low copies, gradients at zero.

    The others stay as they are, with their moments, as PyTorch leaves those without a gradient.
    """

    def __init__(self, places: Places, tasks: frozenset[str]) -> None:
        self._places = places
        self.parameters = places.reached_by(tasks)
        self._gradients = [places.gradients[p] for p in self.parameters]
        state = places.optimizer.state
        for parameter in self.parameters:
            if not state[parameter]:
                state[parameter].update(_fresh(parameter))
        self._moments = [state[p]["exp_avg"] for p in self.parameters]
        self._groups = [
            _Group.of(group, self.parameters) for group in places.optimizer.param_groups
        ]

    @property
    def is_current(self) -> bool:
        """Whether the optimizer still has the moments that it had."""
        state = self._places.optimizer.state
        return all(
            state[parameter].get("exp_avg") is moment
            for parameter, moment in zip(self.parameters, self._moments, strict=True)
        )

    def run(self) -> None:
        places = self._places
        with torch.no_grad():
            norm = _norm(self._gradients)
            if places.clip is not None:
                # As `nn.utils.clip_grad_norm_` does.
                share = torch.clamp(places.clip / (norm + 1e-6), max=1.0)
                torch._foreach_mul_(self._gradients, share)
            for group, rate in zip(self._groups, places.rates.unbind(), strict=True):
                if group.parameters:
                    group.update(places, rate)
            if places.copies is not None:
                places.copies.copy()
            places.report.copy_(torch.cat([places.sums, norm[None]]))
            torch._foreach_zero_([*self._gradients, places.sums])


@dataclass(frozen=True, slots=True)
class _Group:
    """Of an optimizer's group those that are changed."""

    parameters: list[nn.Parameter]
    settings: dict[str, Any]

    @classmethod
    def of(cls, group: dict[str, Any], changed: list[nn.Parameter]) -> "_Group":
        chosen = set(changed)
        return cls([p for p in group["params"] if p in chosen], group)

    def update(self, places: Places, rate: Tensor) -> None:
        """As `torch.optim.AdamW(fused=True)` does, with a rate that the device knows."""
        state, settings = places.optimizer.state, self.settings
        means, squares, steps = (
            [state[p][slot] for p in self.parameters] for slot in ("exp_avg", "exp_avg_sq", "step")
        )
        parameters: list[Tensor] = [*self.parameters]
        gradients = [places.gradients[p] for p in self.parameters]
        beta1, beta2 = settings["betas"]
        torch._foreach_add_(steps, 1)
        torch._fused_adamw_(
            parameters, gradients, means, squares, [], steps, lr=rate, beta1=beta1, beta2=beta2,
            weight_decay=settings["weight_decay"], eps=settings["eps"],
            amsgrad=False, maximize=False,
        )  # fmt: skip


def _fresh(parameter: nn.Parameter) -> dict[str, Tensor]:
    """What the optimizer itself begins with."""
    return {
        "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
        "exp_avg": torch.zeros_like(parameter, memory_format=torch.preserve_format),
        "exp_avg_sq": torch.zeros_like(parameter, memory_format=torch.preserve_format),
    }


def _norm(gradients: list[Tensor]) -> Tensor:
    """Of all of them as one vector."""
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients, 2.0)), 2.0)
    return norm
