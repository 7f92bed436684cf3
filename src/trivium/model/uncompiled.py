"""Optimizers that leave PyTorch's compiler where it is: to load it takes as long as PyTorch."""

from inspect import unwrap
from typing import Any

from torch.optim import Optimizer


class Uncompiled(Optimizer):
    """Mixed into an optimizer, before its class of PyTorch's.

    `Optimizer` keeps `torch.compile` out of these four methods, and loads the compiler to tell it
    so, though nothing is compiled. So here they are what stands within that. (A step of PyTorch's
    own AdamW loads it all the same.)
    """

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        unwrap(Optimizer.add_param_group)(self, param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        unwrap(Optimizer.zero_grad)(self, set_to_none)

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = unwrap(Optimizer.state_dict)(self)
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        unwrap(Optimizer.load_state_dict)(self, state_dict)
