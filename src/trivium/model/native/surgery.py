"""Gradient surgery in compiled kernels: inner products of tasks' gradients, and their weighted sum.

Shape letters as in `trivium.types`; P parameters. Of a parameter that a task does not reach it has
None.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from trivium.model.native.library import Library

Parts = Sequence[Tensor | None]
"""Of one parameter, each task's gradient: dense ones, alike in size."""


def gram(library: Library, parameters: Sequence[Parts], tasks: int) -> Tensor:
    """Inner products of every two tasks' gradients of each parameter: gram_PTT (float64)."""
    gram_PTT = torch.zeros(len(parameters), tasks, tasks, dtype=torch.float64)
    each = [part for parts in parameters for part in parts]
    library.gram(len(parameters), tasks, _places(each), _sizes(parameters), gram_PTT)
    return gram_PTT


def weighted_sums(library: Library, parameters: Sequence[Parts], weight_T: Tensor) -> list[Tensor]:
    """Of each parameter sum_t weight_T[t] * g_t, in the memory of the first that is there."""
    sums = [next(part for part in parts if part is not None) for parts in parameters]
    each = [part for parts in parameters for part in parts]
    library.weighted_sums(
        len(parameters), len(weight_T), _places(each), _sizes(parameters),
        weight_T.float().contiguous(), _places(sums),
    )  # fmt: skip
    return sums


def _places(tensors: Iterable[Tensor | None]) -> Tensor:
    places = [0 if each is None else each.data_ptr() for each in tensors]
    return torch.tensor(places, dtype=torch.int64)


def _sizes(parameters: Iterable[Parts]) -> Tensor:
    """Numbers of each parameter; of one that nobody reaches, none."""
    return torch.tensor(
        [next((part.numel() for part in parts if part is not None), 0) for parts in parameters],
        dtype=torch.int64,
    )
