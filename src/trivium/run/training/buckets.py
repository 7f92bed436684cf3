"""Gradients averaged over processes: in buckets, while the rest is still being computed.

As PyTorch's DistributedDataParallel does (Li et al. 2020, sections 3.2.2 and 3.2.3), for gradients
that may also be of one task, or of none in some processes. Of a large table, which is the word
embedding, only the rows that some process has a gradient of travel: some hundreds of 30,522.
"""

from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from trivium.run.training.distributed import Processes

AnyTensor = TypeVar("AnyTensor", bound=Tensor)

BUCKET_BYTES = 25 * 2**20
"""Of gradients in fp32 that travel together; a larger one travels alone."""
TABLE_BYTES = BUCKET_BYTES
"""Of a gradient in two axes from which on its rows are looked at: no layer of BERT-large has as
many."""


@dataclass(frozen=True, slots=True)
class Mean:
    """How gradients are averaged over processes."""

    processes: Processes
    kind: torch.dtype = torch.float32
    """In which they travel, and are summed up."""

    def all_(self, gradients: Sequence[Tensor]) -> None:
        """Replace each by its mean over the processes, in place."""
        if self.processes.world > 1:
            for bucket in [self._begun(part) for part in in_buckets(gradients)]:
                bucket.end()

    @contextmanager
    def meanwhile(
        self, parameters: Sequence[nn.Parameter], awaited: Container[int]
    ) -> Iterator[None]:
        """Average the gradients that one backward pass inside leaves, as soon as they are there.

        parameters: the same ones in all processes, those that any of them has a gradient of. One
        that this process has none of counts as zero. awaited: by `id`, those that the pass inside
        comes to in this process.
        """
        # A backward pass comes to the last ones first.
        waiting = [
            _Waiting(part, sum(id(parameter) in awaited for parameter in part))
            for part in in_buckets(parameters[::-1])
        ]
        begun: list[_Begun] = []

        def begin() -> None:
            """Those that are complete: all processes must begin them in one order."""
            while len(begun) < len(waiting) and not waiting[len(begun)].missing:
                begun.append(self._begun(waiting[len(begun)].gradients()))

        def arrived(bucket: _Waiting) -> None:
            bucket.missing -= 1
            begin()

        hooks = [
            parameter.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
                lambda _, of=bucket: arrived(of)
            )
            for bucket in waiting
            for parameter in bucket.parameters
        ]
        try:
            begin()
            yield
        finally:
            for hook in hooks:
                hook.remove()
        for bucket in waiting:
            bucket.missing = 0
        begin()
        for one in begun:
            one.end()

    def _begun(self, gradients: Sequence[Tensor]) -> "_Begun":
        rows_S = self._rows(gradients)
        sent = gradients if rows_S is None else [gradients[0][rows_S]]
        flat = torch.cat([gradient.detach().flatten().to(self.kind) for gradient in sent])
        work = self.processes.sum_begun(flat)
        return _Begun(gradients, rows_S, flat, work, self.processes.world)

    def _rows(self, gradients: Sequence[Tensor]) -> Tensor | None:
        """Those of a large table that are not zero in every process; None where all are sent."""
        table = gradients[0].detach()
        # On a GPU to know their number would be to wait for it.
        if len(gradients) > 1 or not table.is_cpu or table.dim() != 2 or table.nbytes < TABLE_BYTES:
            return None
        rows_S = self.processes.marked_by_any(table.ne(0).any(1)).nonzero().view(-1)
        return rows_S if 2 * len(rows_S) <= len(table) else None


@dataclass(frozen=True, slots=True)
class _Begun:
    """A bucket that is underway."""

    gradients: Sequence[Tensor]
    rows_S: Tensor | None
    """Of the only gradient: what is sent of it."""
    flat: Tensor
    work: dist.Work
    world: int

    def end(self) -> None:
        self.work.wait()
        if self.rows_S is not None:
            (table,) = self.gradients
            mean_SK = self.flat.view(-1, table.shape[1]).to(table.dtype).div_(self.world)
            table.detach().index_copy_(0, self.rows_S, mean_SK)
            return
        sizes = [gradient.numel() for gradient in self.gradients]
        for gradient, part in zip(self.gradients, torch.split(self.flat, sizes), strict=True):
            gradient.copy_(part.view_as(gradient)).div_(self.world)


@dataclass(slots=True)
class _Waiting:
    """A bucket of which not all gradients are there."""

    parameters: Sequence[nn.Parameter]
    missing: int

    def gradients(self) -> list[Tensor]:
        found = []
        for parameter in self.parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            found.append(parameter.grad)
        return found


def in_buckets(tensors: Sequence[AnyTensor]) -> list[list[AnyTensor]]:
    """In their order, in parts of at most so many bytes, or of one tensor."""
    parts: list[list[AnyTensor]] = []
    room = 0
    for tensor in tensors:
        if tensor.nbytes > room or not parts:
            parts.append([])
            room = BUCKET_BYTES
        parts[-1].append(tensor)
        room -= tensor.nbytes
    return parts


def reached(loss: Tensor) -> set[int]:
    """The `id` of every parameter that a backward pass from here would give a gradient to."""
    found: set[int] = set()
    seen: set[object] = set()
    ahead = [loss.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if (leaf := getattr(node, "variable", None)) is not None:
            found.add(id(leaf))
        ahead += [following for following, _ in node.next_functions]
    return found
