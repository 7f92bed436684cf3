"""FlashAttention (Dao 2024) and its way back, called directly. Shape letters: see `trivium.types`;
d a head's width.

What autograd does between the two is spared: copies of the gradients into one matrix, and their
sums, which `launch.beside` has in one pass.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from trivium.model.attention import Stream


class Mixed(NamedTuple):
    """What the way back needs."""

    mixed_NHd: Tensor
    logsumexp: Tensor
    seed: Tensor
    """Dropout's; until PyTorch 2.6 without `offset`."""
    offset: Tensor

    @property
    def flat(self) -> Tensor:
        return self.mixed_NHd.flatten(1)


def forward(qkv_N3D: Tensor, stream: Stream, heads: int, p: float) -> Mixed:
    """softmax(q k^T / sqrt(d)) v within each text. p: of dropping a weight."""
    found = torch.ops.aten._flash_attention_forward(
        *_parts(qkv_N3D, heads), stream.starts, stream.starts, stream.longest, stream.longest,
        p, False, False,
    )  # fmt: skip
    return Mixed(*found[:4])


def backward(
    grad_ND: Tensor, qkv_N3D: Tensor, mixed: Mixed, stream: Stream, p: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v, each of them x_ND."""
    shape = mixed.mixed_NHd.shape
    dq, dk, dv = torch.ops.aten._flash_attention_backward(
        grad_ND.view(shape), *_parts(qkv_N3D, shape[1]), mixed.mixed_NHd, mixed.logsumexp,
        stream.starts, stream.starts, stream.longest, stream.longest, p, False,
        mixed.seed, mixed.offset,
    )  # fmt: skip
    return dq.flatten(1), dk.flatten(1), dv.flatten(1)


def _parts(qkv_N3D: Tensor, heads: int) -> tuple[Tensor, ...]:
    """q, k and v."""
    tokens, width = qkv_N3D.shape
    return qkv_N3D.view(tokens, 3, heads, width // (3 * heads)).unbind(1)
