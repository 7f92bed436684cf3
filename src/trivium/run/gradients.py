"""From losses to `.grad`: the only place that knows about combining tasks."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

Gradient = Sequence[Tensor | None]
"""One tensor per shared parameter, in parameter order; None where a task does not reach it."""


def take_gradient(shared: Sequence[nn.Parameter]) -> list[Tensor | None]:
    """The gradients that a backward pass left, and room for the next task's."""
    taken: list[Tensor | None] = []
    for parameter in shared:
        taken.append(parameter.grad)
        parameter.grad = None
    return taken


def add_gradient(totals: dict[str, list[Tensor | None]], task: str, gradient: Gradient) -> None:
    """Sum the gradients of one task's several batches, in place."""
    if task not in totals:
        totals[task] = list(gradient)
        return
    for index, part in enumerate(gradient):
        total = totals[task][index]
        if total is None:
            totals[task][index] = part
        elif part is not None:
            total.add_(part)


def gram_by_parameter(gradients: Sequence[Gradient]) -> Tensor:
    """Inner products of T tasks' gradients, per parameter, on the CPU: gram_PTT (float64)."""
    tasks, parameters = len(gradients), len(gradients[0])
    gram_PTT = torch.zeros(parameters, tasks, tasks, dtype=torch.float64)
    places, products = [], []
    for p, parts in enumerate(zip(*gradients, strict=True)):
        flat = [None if part is None else part.flatten() for part in parts]
        for i, first in enumerate(flat):
            for j in range(i, tasks):
                second = flat[j]
                if first is not None and second is not None:
                    places.append((p, i, j))
                    products.append(_dot(first, second))
    if places:
        product_M = torch.stack(products).cpu()  # a GPU is waited for once
        p, i, j = torch.tensor(places).T
        gram_PTT[p, i, j] = product_M
        gram_PTT[p, j, i] = product_M
    return gram_PTT


CHUNK = 2**16


def _dot(first: Tensor, second: Tensor) -> Tensor:
    """Inner product of two flat tensors, in float64 across chunks.

    Summed in fp32 throughout, that of two word embeddings' gradients is 3e-4 off.
    """
    pieces = zip(torch.split(first, CHUNK), torch.split(second, CHUNK), strict=True)
    parts = [torch.dot(a, b) for a, b in pieces]
    return torch.stack(parts).sum(dtype=torch.float64)


def gram_matrix(gradients: Sequence[Gradient]) -> Tensor:
    """Inner products of T tasks' whole gradients, on the CPU: gram_TT (float64)."""
    return gram_by_parameter(gradients).sum(0)


def gram_by_group(gram_PTT: Tensor, groups: Sequence[str]) -> dict[str, Tensor]:
    """Inner products by group of parameters, such as a layer: group -> gram_TT.

    groups: the group of each parameter, in parameter order.
    """
    found: dict[str, Tensor] = {}
    for group, gram_TT in zip(groups, gram_PTT, strict=True):
        found[group] = found[group] + gram_TT if group in found else gram_TT
    return found


def cosines(gram_TT: Tensor, tasks: Sequence[str]) -> dict[str, float]:
    """Cosine between each two tasks' gradients; 0 where one of them vanishes."""
    norm_T = gram_TT.diagonal().clamp_min(0).sqrt()
    found = {}
    for i, first in enumerate(tasks):
        for j in range(i + 1, len(tasks)):
            size = float(norm_T[i] * norm_T[j])
            found[f"{first}|{tasks[j]}"] = float(gram_TT[i, j]) / size if size else 0.0
    return found


def set_weighted_sum(
    shared: Sequence[nn.Parameter], gradients: Mapping[str, Gradient], weight_T: Tensor
) -> None:
    """Leave sum_t weight_T[t] * g_t in `.grad`, reusing the gradients' own memory."""
    weights = [float(weight) for weight in weight_T]
    for index, parameter in enumerate(shared):
        total: Tensor | None = None
        for weight, gradient in zip(weights, gradients.values(), strict=True):
            part = gradient[index]
            if part is None:
                continue
            total = part.mul_(weight) if total is None else total.add_(part, alpha=weight)
        parameter.grad = total
