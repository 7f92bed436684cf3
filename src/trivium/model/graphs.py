"""The encoder's layers on a GPU as recorded graphs. Shape letters: see `trivium.types`.

A step of a small encoder is hundreds of kernels of a few microseconds each, which a processor
cannot launch as fast as the GPU is done with them. A graph is launched as a whole. It always works
on the same memory: so there is one for each size of a stream, of which there are few because
streams are filled up to the next size with texts of zeros, which nobody reads and whose gradient
is zero.

Only for training in bf16 on one GPU, without adapters. Whoever wants it says so for as long as each
pass is followed by its own way back before the next one begins, as `run/training/step.py` does.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trivium.model.attention import Layout, Stream, layout
from trivium.model.copies import Make, Renewed
from trivium.model.replays import side_stream, uncollected
from trivium.types import Tokens

MOST = 48
"""Sizes that are kept at a time."""
LENGTHS = 64
"""Longest texts are told apart in steps of so many tokens: attention's blocks are no finer."""
WARM_UP = 2
"""Passes before one is recorded: libraries choose their kernels, and take their memory."""

SWITCH = "TRIVIUM_GRAPHS"
"""Environment variable: 0 records nothing, `layers` the encoder's layers alone; by default whole
steps are recorded where that is possible, and layers elsewhere."""

Layers = Callable[[Tensor, Layout], Tensor]
"""The layers' forward pass: x_ND -> hidden_ND."""


def wanted() -> Literal["none", "layers", "all"]:
    """What the environment says of graphs."""
    said = os.environ.get(SWITCH, "")
    return "none" if said == "0" else "layers" if said == "layers" else "all"


@dataclass(frozen=True, slots=True)
class Size:
    """What a recorded pass is made for."""

    tokens: int
    texts: int
    """Without those that fill it up."""
    longest: int

    @classmethod
    def of(cls, tokens: Tokens) -> "Size":
        """The next one that holds such a stream, about an eighth larger at most."""
        count = len(tokens.ids_N)
        step = max(8, 2 ** max(0, count.bit_length() - 4))
        longest = -(-tokens.longest // LENGTHS) * LENGTHS
        return cls(-(-count // step) * step, len(tokens.lengths_R), longest)

    def starts(self, lengths_R: Tensor) -> Tensor:
        """Where texts start and where the last one ends, int32: the real ones, then those of zeros,
        none of them too long and as many of them empty as there are too many."""
        fill = torch.arange(1, self.tokens // 8 // self.longest + 2, device=lengths_R.device)
        ends_R = lengths_R.cumsum(0)
        filled = (ends_R[-1] + fill * self.longest).clamp(max=self.tokens)
        return F.pad(torch.cat([ends_R, filled]).int(), (1, 0))

    def layout(self, lengths_R: Tensor) -> Layout:
        """How attention sees such a stream, with the texts of zeros."""
        starts = self.starts(lengths_R)
        if lengths_R.device.type == "cpu":
            all_R = starts.diff().long()
            return layout(all_R[all_R > 0])
        return Stream(lengths_R, self.longest, starts)


class Graphs:
    """Of one encoder."""

    def __init__(
        self,
        layers: Layers,
        groups: Sequence[Sequence[nn.Linear]],
        make: Make[Any],
        parameters: Sequence[nn.Parameter],
    ) -> None:
        """groups: layers that are one product, of which `make` makes copies in low precision;
        parameters: all that the layers read."""
        self.layers, self.parameters = layers, parameters
        self.copies = Renewed(groups, make)
        self.passes: dict[Size, _Pass] = {}
        self.pool: Any = None
        self.stamp: tuple[object, ...] = ()
        self.gradients: dict[nn.Parameter, Tensor] = {}
        """Where graphs leave them; for a parameter it becomes its `.grad`."""

    def encode(self, x_ND: Tensor, tokens: Tokens, dtype: torch.dtype) -> Tensor:
        """hidden_ND in `dtype`, of embeddings that require a gradient."""
        self._start_over_if_others(dtype)
        size = Size.of(tokens)
        if size not in self.passes:
            while len(self.passes) >= MOST:
                self.passes.pop(next(iter(self.passes)))
            self.passes[size] = self._record(size, x_ND.shape[1], x_ND.device, dtype)
        self.copies.renew()
        one = self.passes[size] = self.passes.pop(size)  # the latest used one is the last
        hidden_ND: Tensor = _Replayed.apply(x_ND, one, tokens.lengths_R, self)  # type: ignore[no-untyped-call]
        return hidden_ND

    def collect(self) -> None:
        """Before a way back: gradients are zero where no batch of the step has left one."""
        fresh = [p for p in self.gradients if p.grad is not self.gradients[p]]
        if not fresh:
            return
        torch._foreach_zero_([self.gradients[p] for p in fresh])
        for p in fresh:
            if p.grad is not None:  # what somebody else left before
                self.gradients[p].add_(p.grad)
            p.grad = self.gradients[p]

    def _start_over_if_others(self, dtype: torch.dtype) -> None:
        """Graphs know addresses: they are of no use once a parameter stands elsewhere."""
        stamp = (dtype, *((p.data_ptr(), p.requires_grad) for p in self.parameters))
        if stamp == self.stamp:
            return
        self.stamp, self.pool = stamp, None
        self.passes.clear()
        self.gradients = {p: torch.zeros_like(p) for p in self.parameters if p.requires_grad}

    def _record(self, size: Size, width: int, device: torch.device, dtype: torch.dtype) -> "_Pass":
        # Nobody's dropout may depend on when a size came first, so that a resumed run, for which
        # all sizes are new, draws what an uninterrupted one does.
        noise = torch.cuda.get_rng_state(device)
        try:
            found = _Pass(size, width, device, dtype)
            found.record(self)
        finally:
            torch.cuda.set_rng_state(noise, device)
        self.pool = found.forward.pool()
        return found


class _Pass:
    """Forward and backward of one size."""

    def __init__(self, size: Size, width: int, device: torch.device, dtype: torch.dtype) -> None:
        self.x_ND = torch.zeros(size.tokens, width, dtype=dtype, device=device, requires_grad=True)
        self.grad_ND = torch.zeros(size.tokens, width, dtype=dtype, device=device)
        self.lengths_R = torch.ones(size.texts, dtype=torch.int64, device=device)
        self.size = size
        self.forward, self.backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        self.hidden_ND = self.back_ND = self.grad_ND

    def record(self, graphs: Graphs) -> None:
        learning = list(graphs.gradients)
        inputs = [self.x_ND, *learning]
        stream, now = side_stream(self.x_ND.device), torch.cuda.current_stream(self.x_ND.device)
        stream.wait_stream(now)
        with torch.cuda.stream(stream), torch.enable_grad():
            for _ in range(WARM_UP):
                torch.autograd.grad(self._run(graphs), inputs, self.grad_ND)
        now.wait_stream(stream)
        with uncollected(), torch.cuda.graph(self.forward, pool=graphs.pool), torch.enable_grad():
            hidden_ND = self._run(graphs)
        with uncollected(), torch.cuda.graph(self.backward, pool=self.forward.pool()):
            back_ND, *found = torch.autograd.grad(hidden_ND, inputs, self.grad_ND)
            if learning:
                torch._foreach_add_([graphs.gradients[p] for p in learning], found)
        self.hidden_ND, self.back_ND = hidden_ND.detach(), back_ND.detach()

    def _run(self, graphs: Graphs) -> Tensor:
        return graphs.layers(self.x_ND, self.size.layout(self.lengths_R))


class _Replayed(torch.autograd.Function):
    """A recorded pass, and the way back, which leaves the parameters' gradients in their place."""

    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, one: _Pass, lengths_R: Tensor, graphs: Graphs) -> Tensor:
        count = len(x_ND)
        with torch.no_grad():
            one.x_ND[:count].copy_(x_ND)
            one.x_ND[count:].zero_()
            one.lengths_R.copy_(lengths_R)
        one.forward.replay()
        ctx.one, ctx.graphs, ctx.dtype = one, graphs, x_ND.dtype
        return one.hidden_ND[:count].detach()

    @staticmethod
    def backward(ctx: Any, grad_ND: Tensor) -> tuple[Tensor, None, None, None]:
        one, count = ctx.one, len(grad_ND)
        one.grad_ND[:count].copy_(grad_ND)
        one.grad_ND[count:].zero_()
        ctx.graphs.collect()
        one.backward.replay()
        return one.back_ND[:count].to(ctx.dtype), None, None, None
