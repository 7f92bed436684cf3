"""Steps whose numbers are not known yet: a GPU is told of the next step while it is at this one.

A step is then told of one step late; before anything is judged or saved, all are. A loss that is
not finite ends the run a step late, too, but no checkpoint is written in between.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from trivium.model import graphs
from trivium.recipe import Stage
from trivium.run.training.gradients import Apart
from trivium.run.training.work import Setup

Facts = dict[str, Any]
"""What the journal says of a step."""


def may_run_ahead(setup: Setup, stage: Stage, apart: Apart | None) -> bool:
    """Whether nothing of such a step has to be known before the next one begins."""
    return (
        setup.device.type == "cuda"
        and setup.processes.world == 1
        and apart is None
        and not stage.regularizers
        and not stage.combiner.observes
    )


def passes_once(setup: Setup, stage: Stage, apart: Apart | None) -> bool:
    """Whether each batch goes through the layers once, and back before the next one begins: what
    recorded layers need, also of a step that has to be waited for, as with `distill`."""
    return (
        graphs.wanted() == "all"
        and setup.device.type == "cuda"
        and setup.processes.world == 1
        and apart is None
        and not any(part.extra_passes or part.needs_fp32 for part in stage.regularizers)
    )


class Owed(NamedTuple):
    """What a step amounts to, as a GPU will know it."""

    there: Tensor
    """A vector in fp64, whose last number is the gradient's norm."""
    losses: Callable[[list[float]], dict[str, float]]
    """Of it, when it is known: task -> mean loss."""


class Later:
    """Numbers on their way from a GPU."""

    def __init__(self, there: Tensor, facts: Callable[[list[float]], Facts]) -> None:
        """there: a vector in fp64, which may change afterwards. facts: what becomes of the numbers,
        in their order; may raise."""
        self._here = torch.empty(len(there), dtype=torch.float64, pin_memory=True)
        self._here.copy_(there, non_blocking=True)
        self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._arrived.record(torch.cuda.current_stream(there.device))
        self._facts = facts

    def facts(self) -> Facts:
        """Waits for them."""
        self._arrived.synchronize()
        return self._facts(self._here.tolist())


class Ahead:
    """Steps that were taken but not told of yet: one at most."""

    def __init__(self, tell: Callable[[int, Facts], None]) -> None:
        """tell: hears the number of a step and its facts, step after step."""
        self._tell = tell
        self._waiting: tuple[int, Later] | None = None

    def put(self, step: int, done: Facts | Later, *, wait: bool) -> None:
        """A step that has just been taken. wait: until it can be told of, too."""
        self.all_told()
        if isinstance(done, Later):
            self._waiting = (step, done)
        else:
            self._tell(step, done)
        if wait:
            self.all_told()

    def all_told(self) -> None:
        """Wait for the one that is under way."""
        if self._waiting is not None:
            step, later = self._waiting
            self._waiting = None
            self._tell(step, later.facts())
