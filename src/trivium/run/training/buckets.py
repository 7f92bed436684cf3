"""Gradients averaged over processes: in buckets, while the rest is still being computed.

As PyTorch's DistributedDataParallel does (Li et al. 2020, sections 3.2.2 and 3.2.3), for gradients
that may also be of one task, or of none in some processes.
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
        flat = torch.cat([gradient.detach().flatten().to(self.kind) for gradient in gradients])
        return _Begun(gradients, flat, self.processes.sum_begun(flat), self.processes.world)


@dataclass(frozen=True, slots=True)
class _Begun:
    """A bucket that is underway."""

    gradients: Sequence[Tensor]
    flat: Tensor
    work: dist.Work
    world: int

    def end(self) -> None:
        self.work.wait()
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
