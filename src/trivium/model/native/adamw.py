"""AdamW in compiled kernels: clipped and applied in one pass over all tensors."""

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import increment_version

from trivium.model.native.library import Library, library
from trivium.model.native.rows import RULE, Rows, Some, sparse
from trivium.model.uncompiled import Uncompiled

BLOCK = 4096
"""Numbers of a gradient whose squares are summed first. Of a matrix with `rows_of`, a row."""

Group = dict[str, Any]


def fitting(parameters: Iterable[Tensor]) -> Library | None:
    """The compiled kernels, if this process may use them and they can train all of these."""
    fits = all(
        p.dtype == torch.float32 and p.device.type == "cpu" and p.is_contiguous()
        for p in parameters
    )
    return library() if fits else None


class AdamW(Uncompiled, torch.optim.AdamW):
    """PyTorch's AdamW, with its state dict, up to rounding.

    Moments below 1e-38, whose numbers are denormal, are 0. Gradients may be sparse.
    """

    def __init__(
        self,
        groups: Iterable[Group],
        found: Library,
        *,
        betas: tuple[float, float],
        eps: float,
    ) -> None:
        super().__init__(groups, betas=betas, eps=eps, fused=True)
        self._library = found
        self._scale = 1.0
        self._rows: dict[Tensor, Rows] = {}

    def rows_of(self, weight: Tensor) -> Rows:
        """For reading a matrix row by row, with a sparse gradient: after a step with one, a row
        that is not in it is brought up to date when it is next read."""
        if weight not in self._rows:
            self._rows[weight] = Rows(self._library, weight)
        return self._rows[weight]

    def clip(self, most: float) -> float:
        """Have the next step scale all gradients down to the norm `most`, if theirs is larger.

        The norm that they have; 0 without gradients.
        """
        trained = [p for _, p in self._trained()]
        values = [self._values(p) for p in trained]
        lengths = [p.shape[1] if p in self._rows else BLOCK for p in trained]
        sums = torch.zeros(len(trained), dtype=torch.float64)
        lists = [_places(values), _sizes(values), torch.tensor(lengths)]
        self._follow().squares(len(trained), *lists, sums)
        norm = math.sqrt(sum(sums.tolist()))
        self._scale = min(1.0, most / (norm + 1e-6))  # as `torch.nn.utils.clip_grad_norm_` does
        return norm

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient, and count it in their versions."""
        assert closure is None, "nobody here computes a loss anew"
        library, dense = self._follow(), []
        rule_of = cache(_rule)  # most tensors of a group have taken as many steps
        for group, parameter in self._trained():
            mean, squares, number = self._begun(parameter)
            rule = rule_of(number, group["lr"], group["weight_decay"], group["betas"], group["eps"])
            assert parameter.grad is not None
            if parameter.grad.is_sparse:
                some = self._merged(parameter)
                self.rows_of(parameter).step(some, (mean, squares), rule, self._scale)
            else:
                dense.append((parameter, self._values(parameter), mean, squares, rule))
        if dense:
            *tensors, rules = zip(*dense, strict=True)
            lists = [*map(_places, tensors), _sizes(tensors[0]), torch.tensor(rules)]
            library.adamw(len(dense), *lists, self._scale)
            increment_version(tensors[0])
        self._scale = 1.0

    def zero_grad(self, set_to_none: bool = True) -> None:
        super().zero_grad(set_to_none)
        self._scale = 1.0

    def state_dict(self) -> dict[str, Any]:
        self._settle()
        return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._settle()
        super().load_state_dict(state_dict)

    # --- the parts of a step --------------------------------------------------------------------

    def _trained(self) -> Iterator[tuple[Group, nn.Parameter]]:
        for group in self.param_groups:
            yield from ((group, p) for p in group["params"] if p.grad is not None)

    def _begun(self, parameter: nn.Parameter) -> tuple[Tensor, Tensor, float]:
        """Both moments, and the number of the step that is to come."""
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        return state["exp_avg"], state["exp_avg_sq"], float(state["step"])

    def _values(self, parameter: nn.Parameter) -> Tensor:
        """All numbers of its gradient that are not 0 for sure, in one block of memory."""
        assert parameter.grad is not None
        if parameter.grad.is_sparse:
            return self._merged(parameter).value_UD
        if not parameter.grad.is_contiguous():
            parameter.grad = parameter.grad.contiguous()
        return parameter.grad

    def _merged(self, parameter: nn.Parameter) -> Some:
        """Its sparse gradient, which is made to have each row once."""
        assert parameter.grad is not None
        some = self.rows_of(parameter).merged(parameter.grad)
        if not parameter.grad.is_coalesced():
            parameter.grad = sparse(some, parameter.shape)
        return some

    def _follow(self) -> Library:
        """The kernels, with as many threads as PyTorch has now."""
        library()
        return self._library

    def _settle(self) -> None:
        for rows in self._rows.values():
            rows.settle()


def _rule(
    step: float, rate: float, decay: float, betas: tuple[float, float], eps: float
) -> tuple[float, ...]:
    """What a step, counted from 1, does to a parameter: see `Rule` in `native/adamw.h`."""
    first, second = betas
    rule = (
        1.0 - rate * decay,
        rate / (1.0 - first**step),
        1.0 / math.sqrt(1.0 - second**step),
        1.0 - first,
        second,
        1.0 - second,
        eps,
        0.0,
    )
    assert len(rule) == RULE
    return rule


def _places(tensors: Sequence[Tensor]) -> Tensor:
    return torch.tensor([tensor.data_ptr() for tensor in tensors])


def _sizes(tensors: Sequence[Tensor]) -> Tensor:
    return torch.tensor([tensor.numel() for tensor in tensors])
