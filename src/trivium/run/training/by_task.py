"""Several tasks' batches in one pass through the encoder, with every task's gradients apart.

In the layers rows of different texts meet only where a parameter's gradient is a sum over rows, and
the compiled kernels make that sum task by task. On both sides of the layers autograd does so: one
task's heads, or embeddings, after another's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

import torch
from torch import Tensor

from trivium.model.multitask import MultiTaskModel
from trivium.model.native.task import Shares
from trivium.run.training.gradients import Apart
from trivium.run.training.together import joined
from trivium.types import Batch


def may_go_by_task(model: MultiTaskModel, device: torch.device) -> bool:
    """Whether the layers are those that can keep tasks apart."""
    return model.encoder.is_native(device, "")


class Pass:
    """The pass there; `backward` is the way back. A task's batches must stand side by side."""

    def __init__(self, model: MultiTaskModel, batches: Sequence[Batch]) -> None:
        self._tasks = [batch.task for batch in batches]
        texts = [len(batch.tokens.lengths_R) for batch in batches]
        self._shares = Shares([sum(texts[place] for place in own) for _, own in self._runs()])
        self._embedded = [model.encoder.embed(batch.tokens) for batch in batches]
        self._x_ND = torch.cat([x_ND.detach() for x_ND in self._embedded])
        self._x_ND.requires_grad_(any(x_ND.requires_grad for x_ND in self._embedded))
        whole = replace(batches[0], tokens=joined([batch.tokens for batch in batches]))
        model.encoder.shares = self._shares
        try:
            self._hidden_ND = model.encode(self._x_ND, whole)
        finally:
            model.encoder.shares = None
        learns = self._hidden_ND.requires_grad
        self._parts = [
            part.detach().requires_grad_(learns) for part in self._split(self._hidden_ND)
        ]
        self.outputs = [model.finish(*both) for both in zip(batches, self._parts, strict=True)]
        """Each batch's output_BK."""

    def backward(self, losses: Sequence[Tensor], apart: Apart) -> None:
        """Leave what tasks share in `apart`, and the rest in `.grad`. losses: of each batch."""
        for task, own in self._runs():
            torch.autograd.backward([losses[place] for place in own])
            apart.take(task)
        if not self._hidden_ND.requires_grad:
            return
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in self._parts]
        torch.autograd.backward(self._hidden_ND, torch.cat(grads))
        for (task, _), found in zip(self._runs(), self._shares.grads, strict=True):
            apart.add(task, [found.get(id(parameter)) for parameter in apart.parameters])
        if self._x_ND.grad is None:
            return
        parts = self._split(self._x_ND.grad)
        for task, own in self._runs():
            torch.autograd.backward(
                [self._embedded[place] for place in own], [parts[place] for place in own]
            )
            apart.take(task)

    def _runs(self) -> Iterator[tuple[str, list[int]]]:
        """Task after task, the places of its batches."""
        for task, places in groupby(range(len(self._tasks)), self._tasks.__getitem__):
            yield task, list(places)

    def _split(self, all_ND: Tensor) -> tuple[Tensor, ...]:
        """By batches."""
        return torch.split(all_ND, [len(x_ND) for x_ND in self._embedded])
