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


def gram_matrix(gradients: Sequence[Gradient]) -> Tensor:
    """Inner products of T tasks' gradients, on the CPU: T x [P] -> gram_TT (float64)."""
    tasks = len(gradients)
    gram_TT = torch.zeros(tasks, tasks, dtype=torch.float64)
    for i in range(tasks):
        for j in range(i, tasks):
            products = [
                torch.dot(a.flatten(), b.flatten())
                for a, b in zip(gradients[i], gradients[j], strict=True)
                if a is not None and b is not None
            ]
            if products:
                gram_TT[i, j] = gram_TT[j, i] = torch.stack(products).sum(dtype=torch.float64).cpu()
    return gram_TT


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
