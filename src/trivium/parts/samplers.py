"""Samplers: which tasks does the next step train? To add one: a class, a line in `Sampler`.

Sizes are rows per epoch of the stage's tasks, after caps. Draws use `step.generator`.
"""

from abc import abstractmethod
from collections.abc import Sequence
from itertools import accumulate
from typing import Annotated, Literal

import torch
from pydantic import Field

from trivium.part import Part
from trivium.types import Step


class SamplerPart(Part):
    @abstractmethod
    def draw(self, sizes: Sequence[int], step: Step) -> list[int]:
        """Indices of the tasks that the next batches come from, one batch each."""

    @abstractmethod
    def shares(self, sizes: Sequence[int], epoch: int, epochs: int) -> list[float]:
        """Expected share of each task among the batches of an epoch; they sum to 1."""

    def tasks_per_draw(self, tasks: int) -> int:
        """Batches that one draw gives."""
        return 1

    def batches_per_epoch(self, batches: Sequence[int]) -> int:
        """Batches of all tasks together in an epoch. batches: in one pass over each task."""
        return sum(batches)

    def most_tasks(self, tasks: int, draws: int) -> int:
        """Different tasks that a step of so many draws can hold."""
        return min(tasks, draws * self.tasks_per_draw(tasks))

    def describe_step(self, tasks: int, draws: int) -> str:
        """What a step of so many draws holds, in words."""
        batches = draws * self.tasks_per_draw(tasks)
        return "one batch of one task" if batches == 1 else f"{batches} batches"


class Joint(SamplerPart):
    """Every step holds one batch of every task; one that is through begins again."""

    kind: Literal["joint"] = "joint"
    epoch: Literal["mean", "shortest", "longest"] = "mean"
    """Steps of an epoch: as many as the tasks' passes have batches on average (so that an epoch
    shows as many rows as with other samplers), or as that of the task with the fewest batches, or
    the most, has. What an epoch does not show, the next one does."""

    def batches_per_epoch(self, batches: Sequence[int]) -> int:
        if self.epoch == "mean":
            return sum(batches)
        steps = min(batches) if self.epoch == "shortest" else max(batches)
        return steps * len(batches)

    def draw(self, sizes: Sequence[int], step: Step) -> list[int]:
        return list(range(len(sizes)))

    def shares(self, sizes: Sequence[int], epoch: int, epochs: int) -> list[float]:
        return [1 / len(sizes)] * len(sizes)

    def tasks_per_draw(self, tasks: int) -> int:
        return tasks

    def describe_step(self, tasks: int, draws: int) -> str:
        return f"{draws} x one batch of every task"


class RoundRobin(SamplerPart):
    """One task a step, in turn."""

    kind: Literal["round_robin"] = "round_robin"

    def draw(self, sizes: Sequence[int], step: Step) -> list[int]:
        turn = int(step.memory.get("round_robin", torch.zeros((), dtype=torch.int64)))
        step.memory["round_robin"] = torch.tensor((turn + 1) % len(sizes))
        return [turn]

    def shares(self, sizes: Sequence[int], epoch: int, epochs: int) -> list[float]:
        return [1 / len(sizes)] * len(sizes)


class Sequential(SamplerPart):
    """One task after another in every epoch, in the recipe's order.

    Each for its share of the rows, so for as many steps as `proportional` gives it on average: one
    pass over every task where all have the same batch size. What the last task teaches is what the
    encoder remembers best: a baseline, not a proposal.
    """

    kind: Literal["sequential"] = "sequential"

    def draw(self, sizes: Sequence[int], step: Step) -> list[int]:
        place = step.index % step.steps_per_epoch  # rows * (place + 1/2) / steps, in whole numbers
        passed = sum(sizes) * (2 * place + 1)
        ends = accumulate(size * 2 * step.steps_per_epoch for size in sizes)
        return [next(task for task, end in enumerate(ends) if passed < end)]

    def most_tasks(self, tasks: int, draws: int) -> int:
        return 1

    def shares(self, sizes: Sequence[int], epoch: int, epochs: int) -> list[float]:
        return [size / sum(sizes) for size in sizes]


class _Tempered(SamplerPart):
    """A task is drawn with p_t in proportion to N_t ** alpha."""

    def alpha_in(self, epoch: int, epochs: int) -> float:
        """The exponent in an epoch counted from 1."""
        raise TypeError(f"{type(self).__name__} has no exponent")

    def draw(self, sizes: Sequence[int], step: Step) -> list[int]:
        share_T = torch.tensor(self.shares(sizes, step.epoch, step.epochs), dtype=torch.float64)
        return [int(torch.multinomial(share_T, 1, generator=step.generator))]

    def shares(self, sizes: Sequence[int], epoch: int, epochs: int) -> list[float]:
        largest = max(sizes)  # scaled first, so that no power can overflow
        weights = [(size / largest) ** self.alpha_in(epoch, epochs) for size in sizes]
        return [weight / sum(weights) for weight in weights]


class Proportional(_Tempered):
    """p_t in proportion to N_t."""

    kind: Literal["proportional"] = "proportional"

    def alpha_in(self, epoch: int, epochs: int) -> float:
        return 1.0


class SquareRoot(_Tempered):
    """p_t in proportion to the square root of N_t."""

    kind: Literal["sqrt"] = "sqrt"

    def alpha_in(self, epoch: int, epochs: int) -> float:
        return 0.5


class Temperature(_Tempered):
    """p_t in proportion to N_t ** alpha: 1 is proportional, 0 is even."""

    kind: Literal["temperature"] = "temperature"
    alpha: float = Field(default=0.5, ge=0, le=1)

    def alpha_in(self, epoch: int, epochs: int) -> float:
        return self.alpha


class Annealed(_Tempered):
    """Proportional at first, nearly even at the end (Stickland & Murray 2019, section 4).

    alpha = 1 - (1 - final) * (e - 1) / (E - 1) in epoch e of E; with one epoch, alpha = 1.
    """

    kind: Literal["annealed"] = "annealed"
    final: float = Field(default=0.2, ge=0, le=1)
    """alpha in the last epoch."""

    def alpha_in(self, epoch: int, epochs: int) -> float:
        return 1.0 if epochs == 1 else 1.0 - (1.0 - self.final) * (epoch - 1) / (epochs - 1)


Sampler = Annotated[
    Joint | RoundRobin | Sequential | Proportional | SquareRoot | Temperature | Annealed,
    Field(discriminator="kind"),
]
