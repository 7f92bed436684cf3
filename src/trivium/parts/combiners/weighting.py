"""Weighting of losses: factors that follow how the tasks' losses develop.

They act on the losses themselves, so heads are weighted too, and no gradients are kept apart.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from trivium.parts.combiners.base import SummingCombiner
from trivium.parts.facts import StageFacts
from trivium.types import Step

_WIDEST = 10.0
"""Bound of an uncertainty's |s|: factors between e^-10 and e^10."""
_FASTEST = 1e6
"""Bound of the ratio of two windows' losses."""
_SEEN = "dwa.seen."
_WINDOW = "dwa.window"


class Uncertainty(SummingCombiner):
    """Homoscedastic uncertainty (Kendall et al. 2018, section 3.2): a learnt log-variance s_t per
    task, starting at 0. A task's factor is exp(-s_t).

    The paper's objective is sum_t exp(-s_t) L_t / 2 + s_t / 2 for every kind of loss, as is usual
    practice. The losses get twice its factor, so that training starts as with `sum`; s_t follows
    its gradient (1 - exp(-s_t) L_t) / 2, by Adam, one step for each step that draws the task. At
    rest s_t = log L_t: every task's weighted loss is 1.

    |s_t| stays within 10 (ours): a loss that goes to 0 would else get a factor without bound.
    """

    kind: Literal["uncertainty"] = "uncertainty"
    lr: float = Field(default=0.01, gt=0)
    """Of the log-variances: about how much an s_t moves in a step."""

    def factor(self, task: str, step: Step) -> float:
        return math.exp(-float(self._state(task, step)[0]))

    def observe(self, losses: Mapping[str, float], step: Step) -> None:
        for task, loss in losses.items():
            if not math.isfinite(loss):
                continue
            s, *state = self._state(task, step).tolist()
            move, state = adam(self.lr, (1.0 - math.exp(-s) * loss) / 2, state)
            s -= move
            s = max(-_WIDEST, min(_WIDEST, s))
            step.memory[f"{self.kind}.{task}"] = _numbers(s, *state)

    def _state(self, task: str, step: Step) -> Tensor:
        """Log-variance, Adam's two averages, and the number of steps."""
        return step.memory.get(f"{self.kind}.{task}", _numbers(0.0, 0.0, 0.0, 0.0))


class DWA(SummingCombiner):
    """Dynamic weight average (Liu et al. 2019, equation 7): tasks that learn slowly count more.

    factor_t = T * softmax(r_t / temperature), where r_t is the mean loss of the last window divided
    by that of the window before; so factors average 1. A window is an epoch, or `every` steps. A
    task has factor 1, and no part in T, until it has been seen in two windows; a window without it
    leaves its r_t as it was.
    """

    kind: Literal["dwa"] = "dwa"
    temperature: float = Field(default=2.0, gt=0)
    """The larger, the more even the factors."""
    every: int | None = Field(default=None, gt=0)
    """Steps per window; by default a window is an epoch."""

    def factor(self, task: str, step: Step) -> float:
        rates = {}
        for name, (_, _, last, before, windows) in self._seen(step).items():
            if windows >= 2:
                rates[name] = min(last / before, _FASTEST) if before > 0 else 1.0
        if task not in rates:
            return 1.0
        share_T = torch.softmax(_numbers(*rates.values()) / self.temperature, 0)
        return len(rates) * float(share_T[list(rates).index(task)])

    def observe(self, losses: Mapping[str, float], step: Step) -> None:
        seen = self._seen(step)
        for task, loss in losses.items():
            total, count, *earlier = seen.get(task, [0.0] * 5)
            if math.isfinite(loss):
                seen[task] = [total + loss, count + 1, *earlier]
        for task, numbers in seen.items():
            step.memory[_SEEN + task] = _numbers(*numbers)
        step.memory[_WINDOW] = torch.tensor(self._window(step))

    def notes(self, facts: StageFacts) -> Iterator[str]:
        if self.every is None and facts.epochs < 3:
            yield (
                f"dwa weighs by the losses of the two epochs before, so in {facts.epochs} epochs "
                "all weights stay 1; give it `every` (steps), or more epochs"
            )

    def _window(self, step: Step) -> int:
        return step.epoch if self.every is None else step.index // self.every

    def _seen(self, step: Step) -> dict[str, list[float]]:
        """Per task: sum and number of the losses in the step's window, means of the last window and
        the one before, and the number of windows behind these means."""
        window = self._window(step)
        over = int(step.memory.get(_WINDOW, window)) != window
        found = {}
        for key in sorted(key for key in step.memory if key.startswith(_SEEN)):
            total, count, last, before, windows = step.memory[key].tolist()
            if over and count:
                total, count, last, before, windows = 0.0, 0.0, total / count, last, windows + 1
            found[key.removeprefix(_SEEN)] = [total, count, last, before, windows]
        return found


def adam(lr: float, slope: float, state: Sequence[float]) -> tuple[float, list[float]]:
    """How far a number goes down its slope in a step of Adam, and the state after it.

    state: the averages of slopes and of their squares, and the number of steps; zeros at first.
    """
    mean, square, count = state
    count += 1
    mean = 0.9 * mean + 0.1 * slope
    square = 0.999 * square + 0.001 * slope * slope
    spread = math.sqrt(square / (1 - 0.999**count)) + 1e-8
    return lr * mean / (1 - 0.9**count) / spread, [mean, square, count]


def _numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)
