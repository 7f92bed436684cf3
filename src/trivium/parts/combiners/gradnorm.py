"""GradNorm (Chen et al. 2018): factors on the losses, learnt from the lengths of the gradients."""

import math
from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from trivium.parts.combiners.base import CombinerPart
from trivium.parts.combiners.weighting import adam
from trivium.types import Step

_LEAST = 1e-3
"""Lowest factor before they are scaled to their sum."""


class GradNorm(CombinerPart):
    """Factors w_t on the losses that make every task's gradient as long as its rate of learning
    asks for (Chen et al. 2018, equations 1 and 2, algorithm 1).

    G_t = |d (w_t L_t) / d W| is the length of a task's gradient, and r_t = (L_t / L_t(0)) / mean of
    that over tasks: large where a task has learnt little. The factors go down the slope of
    sum_t |G_t - mean(G) * r_t^alpha|, in which the goal is a constant, by Adam; then they are
    scaled to sum to the number of tasks. So they start, and are on average, 1.

    W is all that tasks share here (the encoder with LoRA, and trunks), of which the diagonal of the
    Gram matrix has the lengths; the paper takes its last shared layer. L_t(0) is the first loss
    above 0 that was seen (ours: the paper's ratio has no other, and of CoSENT a batch of equal
    scores has none). A step moves the factors of the tasks that it holds, if these are several, and
    keeps their sum. No factor falls below 0.001 of the others' scale (ours; below 0 the paper's
    slope would turn a loss around). Gradients are summed as they are, and heads are weighted too.
    """

    kind: Literal["gradnorm"] = "gradnorm"
    alpha: float = Field(default=1.5, ge=0)
    """How much more a task that learns slowly gets; 0: all gradients shall be of one length."""
    lr: float = Field(default=0.025, gt=0)
    """Of the factors: about how much one moves in a step."""

    def weigh(self, gram_TT: Tensor, step: Step) -> Tensor:
        if bool(gram_TT.isfinite().all()):
            norm_T = gram_TT.double().diagonal().clamp_min(0).sqrt()
            for task, norm in zip(step.tasks, norm_T, strict=True):
                step.memory[self._key("norm", task)] = norm.clone()
        return torch.ones_like(gram_TT[0])

    def factor(self, task: str, step: Step) -> float:
        return float(step.memory.get(self._key("factor", task), 1.0))

    def observe(self, losses: Mapping[str, float], step: Step) -> None:
        lengths, rates = {}, {}
        for task, loss in losses.items():
            # Of this step only: the next one may not hold the task.
            norm = step.memory.pop(self._key("norm", task), None)
            first = self._first(task, loss, step) if math.isfinite(loss) else 0.0
            if norm is not None and first > 0:
                lengths[task], rates[task] = float(norm), loss / first
        if len(rates) > 1:
            self._move(lengths, rates, step)

    def _move(self, lengths: Mapping[str, float], rates: Mapping[str, float], step: Step) -> None:
        """One step of the factors. rates: L_t / L_t(0)."""
        before = {task: self.factor(task, step) for task in rates}
        length, rate = (sum(of.values()) / len(rates) for of in (lengths, rates))
        after = {}
        for task, factor in before.items():
            goal = length * (rates[task] / rate) ** self.alpha if rate > 0 else length
            excess = lengths[task] - goal
            # Rounding is no excess.
            is_there = abs(excess) > 1e-9 * length
            slope = math.copysign(lengths[task] / factor, excess) if is_there else 0.0
            key = self._key("adam", task)
            move, state = adam(self.lr, slope, step.memory.get(key, torch.zeros(3)).tolist())
            step.memory[key] = torch.tensor(state, dtype=torch.float64)
            after[task] = max(_LEAST, factor - move)
        scale = sum(before.values()) / sum(after.values())
        for task, factor in after.items():
            step.memory[self._key("factor", task)] = torch.tensor(
                scale * factor, dtype=torch.float64
            )

    def _first(self, task: str, loss: float, step: Step) -> float:
        """The task's first loss above 0; 0 as long as there was none."""
        key = self._key("first", task)
        first = float(step.memory.get(key, 0.0))
        if first <= 0:
            first = loss
            step.memory[key] = torch.tensor(first, dtype=torch.float64)
        return first

    def _key(self, what: str, task: str) -> str:
        return f"{self.kind}.{what}.{task}"
