"""Gradient surgery: each task's gradient is changed where it disagrees with another's.

A changed gradient stays a combination of the original ones, so its coefficients and the Gram
matrix are all that is needed.
"""

import math
from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from trivium.parts.combiners.base import NOISE, Directions, GramCombiner
from trivium.types import Step

_HIGHEST_GOAL = 0.995
"""Beyond it GradVac's formula adds a multiple of the other gradient that grows without bound."""


class PCGrad(GramCombiner):
    """Projecting conflicting gradients (Yu et al. 2020, algorithm 1).

    Task i visits the other tasks in random order, drawn from `step.generator`; wherever its
    gradient, as changed so far, opposes the *original* g_j, it loses that part:
    g_i <- g_i - <g_i, g_j> / |g_j|^2 * g_j. The update is the sum of the changed gradients, as in
    the authors' own code (tianheyu927/PCGrad). Without conflicts it is that of `sum`.
    """

    kind: Literal["pcgrad"] = "pcgrad"

    def combine(self, directions: Directions, step: Step) -> Tensor:
        mixed_TT = torch.eye(len(directions.norm_T), dtype=torch.float64)
        for i, j in _visits(len(mixed_TT), step.generator):
            overlap = float(directions.cosine_TT[j] @ mixed_TT[i])
            if overlap < 0:
                mixed_TT[i, j] -= overlap
        return directions.sum_of(mixed_TT)


class GradVac(GramCombiner):
    """Gradient vaccine: raises each cosine to its usual height (Wang et al. 2021, algorithm 1).

    As `pcgrad`, but task i's gradient is changed wherever its cosine phi with the original g_j is
    below a goal, and just so much that it reaches the goal:
    g_i <- g_i + |g_i| / |g_j| * (goal sqrt(1 - phi^2) / sqrt(1 - goal^2) - phi) * g_j.
    The goal of each ordered pair starts at 0, where the formula is that of `pcgrad`, and follows
    the cosines: goal <- (1 - beta) goal + beta phi. Goals are remembered by the tasks' names, so a
    step may draw some of the tasks only. The update is the sum of the changed gradients.

    Ours: a goal above 0.995 counts as 0.995, and a gradient that has been cancelled to nothing is
    left alone.
    """

    kind: Literal["gradvac"] = "gradvac"
    beta: float = Field(default=0.01, ge=0, le=1)
    """Share of the newest cosine in the goal."""

    def combine(self, directions: Directions, step: Step) -> Tensor:
        cosine_TT = directions.cosine_TT
        mixed_TT = torch.eye(len(cosine_TT), dtype=torch.float64)
        for i, j in _visits(len(mixed_TT), step.generator):
            length = math.sqrt(max(0.0, float(mixed_TT[i] @ cosine_TT @ mixed_TT[i])))
            if length <= NOISE * float(mixed_TT[i].abs().max()):
                continue
            cosine = max(-1.0, min(1.0, float(cosine_TT[j] @ mixed_TT[i]) / length))
            key = f"{self.kind}.{step.tasks[i]}|{step.tasks[j]}"
            usual = float(step.memory.get(key, 0.0))
            goal = min(usual, _HIGHEST_GOAL)
            if cosine < goal:
                mixed_TT[i, j] += length * (goal * _sine(cosine) / _sine(goal) - cosine)
            usual = (1 - self.beta) * usual + self.beta * cosine
            step.memory[key] = torch.tensor(usual, dtype=torch.float64)
        return directions.sum_of(mixed_TT)


def _visits(tasks: int, generator: torch.Generator) -> Iterator[tuple[int, int]]:
    """Each task with all others, in an order drawn anew for each task."""
    for i in range(tasks):
        for j in torch.randperm(tasks, generator=generator).tolist():
            if i != j:
                yield i, j


def _sine(cosine: float) -> float:
    return math.sqrt(1.0 - cosine * cosine)
