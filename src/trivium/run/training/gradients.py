"""From losses to `.grad`: the only place that knows about combining tasks.

Gradients of a matrix may be sparse: rows and their values (see `model/native/rows.py`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from trivium.model.multitask import MultiTaskModel, Shared
from trivium.model.native import adamw as native
from trivium.model.native import surgery

Gradient = Sequence[Tensor | None]
"""One tensor per shared parameter, in parameter order; None where a task does not reach it."""

CHUNK = 2**17
"""Numbers of each task's gradient that are multiplied at a time."""


@dataclass
class Apart:
    """The tasks' gradients of what they share, taken out of `.grad` task after task."""

    shared: list[Shared]
    gradients: dict[str, list[Tensor | None]] = field(default_factory=dict)
    """task -> one tensor per shared parameter."""

    @classmethod
    def of(cls, model: MultiTaskModel) -> "Apart":
        """For what learns now of a model's shared parameters."""
        return cls([one for one in model.shared_parameters() if one.parameter.requires_grad])

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [one.parameter for one in self.shared]

    def expect(self, tasks: Iterable[str]) -> None:
        """Have them in this order, whatever comes first: combiners draw in the order of tasks."""
        for task in tasks:
            self.gradients.setdefault(task, [None] * len(self.shared))

    def take(self, task: str) -> None:
        """Keep what the task's backward pass left, beside what it left before."""
        self.add(task, take_gradient(self.parameters))

    def add(self, task: str, gradient: Gradient) -> None:
        """Keep one more part of the task's gradient."""
        add_gradient(self.gradients, task, gradient)


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
            totals[task][index] = _sum(total, part)


def _sum(total: Tensor, part: Tensor, weight: float = 1.0) -> Tensor:
    """total + weight * part, in the memory of one of them."""
    if total.is_sparse and not part.is_sparse:
        return (part if weight == 1.0 else part.mul_(weight)).add_(total)
    return total.add_(part, alpha=weight)


def gram_by_parameter(gradients: Sequence[Gradient]) -> Tensor:
    """Inner products of T tasks' gradients, per parameter, on the CPU: gram_PTT (float64)."""
    parts_P = [_alike(parts) for parts in zip(*gradients, strict=True)]
    if (found := native.fitting(_there(parts_P))) is not None:
        return surgery.gram(found, parts_P, len(gradients))
    return _gram(parts_P, len(gradients))


def _gram(parts_P: Sequence[Gradient], tasks: int) -> Tensor:
    """The same in PyTorch."""
    places: list[int] = []
    products: list[Tensor] = []
    for p, parts in enumerate(parts_P):  # noqa: PLR1702
        there = [(task, part.flatten()) for task, part in enumerate(parts) if part is not None]
        # All products of a chunk while it lies in the cache. And their sum over chunks is in
        # float64: in fp32 throughout, that of two word embeddings' gradients is 3e-4 off.
        chunks = [torch.split(part, CHUNK) for _, part in there]
        for pieces in zip(*chunks, strict=True):
            for first, (i, _) in enumerate(there):
                for second, (j, _) in enumerate(there[first:], first):
                    places.append((p * tasks + i) * tasks + j)
                    products.append(torch.dot(pieces[first], pieces[second]))
    gram_M = torch.zeros(len(parts_P) * tasks * tasks, dtype=torch.float64)
    if places:
        # A GPU is waited for once, here.
        gram_M.index_add_(0, torch.tensor(places), torch.stack(products).cpu().double())
    upper_PTT = gram_M.view(len(parts_P), tasks, tasks)
    return upper_PTT + upper_PTT.triu(1).mT


def _there(parts_P: Sequence[Gradient]) -> list[Tensor]:
    return [part for parts in parts_P for part in parts if part is not None]


def _alike(parts: Gradient) -> Gradient:
    """The same as dense matrices: of sparse ones those rows that any of them has."""
    there = [part for part in parts if part is not None]
    sparse = [part for part in there if part.is_sparse]
    if not sparse:
        return parts
    if len(sparse) < len(there):
        return [part.to_dense() if part is not None and part.is_sparse else part for part in parts]
    rows = [part._indices()[0] for part in sparse]
    row_U, places = torch.unique(torch.cat(rows), return_inverse=True)
    place = iter(places.split([len(row) for row in rows]))
    return [
        None
        if part is None
        else part.new_zeros(len(row_U), part.shape[1], layout=torch.strided).index_add_(
            0, next(place), part._values()
        )
        for part in parts
    ]


def gram_by_group(gram_PTT: Tensor, groups: Sequence[str]) -> dict[str, Tensor]:
    """Inner products by group of parameters, such as a layer: group -> gram_TT.

    groups: the group of each parameter, in parameter order.
    """
    grams: dict[str, Tensor] = {}
    for group, gram_TT in zip(groups, gram_PTT, strict=True):
        grams[group] = grams[group] + gram_TT if group in grams else gram_TT
    return grams


def cosines(gram_TT: Tensor, tasks: Sequence[str]) -> dict[str, float]:
    """Cosine between each two tasks' gradients; 0 where one of them vanishes."""
    norm_T = gram_TT.diagonal().clamp_min(0).sqrt()
    values = {}
    for i, first in enumerate(tasks):
        for j in range(i + 1, len(tasks)):
            size = float(norm_T[i] * norm_T[j])
            values[f"{first}|{tasks[j]}"] = float(gram_TT[i, j]) / size if size else 0.0
    return values


def set_weighted_sum(
    shared: Sequence[nn.Parameter], gradients: Mapping[str, Gradient], weight_T: Tensor
) -> None:
    """Leave sum_t weight_T[t] * g_t in `.grad`, reusing the gradients' own memory."""
    columns = dict(enumerate(zip(*gradients.values(), strict=True)))
    dense = {
        index: parts
        for index, parts in columns.items()
        if any(part is not None for part in parts) and not any(_is_sparse(part) for part in parts)
    }
    if (found := native.fitting(_there([*dense.values()]))) is not None:
        sums = surgery.weighted_sums(found, [*dense.values()], weight_T)
        for index, total in zip(dense, sums, strict=True):
            shared[index].grad = total
            del columns[index]
    weights = [float(weight) for weight in weight_T]
    for index, parts in columns.items():
        shared[index].grad = _weighted_sum(parts, weights)


def _is_sparse(part: Tensor | None) -> bool:
    return part is not None and part.is_sparse


def _weighted_sum(parts: Gradient, weights: Sequence[float]) -> Tensor | None:
    """In the memory of one of them; None where there is none."""
    total: Tensor | None = None
    for weight, part in zip(weights, parts, strict=True):
        if part is None:
            continue
        if total is None:
            total = part if weight == 1.0 else part.mul_(weight)
        else:
            total = _sum(total, part, weight)
    return total
