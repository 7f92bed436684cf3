"""A stage's averaged weights: followed step by step, and put in the weights' place for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from trivium.parts.averaging import AveragingPart
from trivium.run.training.state import TrainState
from trivium.types import Step

_WEIGHTS = "average.of."
_TAKEN = "average.steps"


def follow(averaging: AveragingPart | None, state: TrainState, step: Step) -> None:
    """Take the weights after a step into the average of those that the stage trains."""
    if averaging is None:
        return
    taken = int(state.memory.get(_TAKEN, 0))
    share = averaging.share(step, taken)
    if share is None:
        return
    with torch.no_grad():
        for key, parameter in _trained(state):
            if taken:
                # A resumed run finds it on the CPU.
                average = state.memory[key].to(parameter.device)
                state.memory[key] = average.lerp_(parameter, share)
            else:
                state.memory[key] = parameter.detach().clone()
    state.memory[_TAKEN] = torch.tensor(taken + 1)


@contextmanager
def averaged(state: TrainState) -> Iterator[None]:
    """Inside, the model has the averaged weights, if there are any; then its own, to the bit."""
    own: list[tuple[nn.Parameter, Tensor]] = []
    if _TAKEN in state.memory:
        own = [(parameter, parameter.detach().clone()) for _, parameter in _trained(state)]
    try:
        with torch.no_grad():
            for key, parameter in _trained(state) if own else ():
                parameter.copy_(state.memory[key])
        yield
    finally:
        with torch.no_grad():
            for parameter, weight in own:
                parameter.copy_(weight)


def _trained(state: TrainState) -> Iterator[tuple[str, nn.Parameter]]:
    """What the stage trains sooner or later, by its key in the step's memory."""
    learns = {id(p) for group in state.optimizer.param_groups for p in group["params"]}
    for name, parameter in state.model.named_parameters():
        if id(parameter) in learns:
            yield f"{_WEIGHTS}{name}", parameter
