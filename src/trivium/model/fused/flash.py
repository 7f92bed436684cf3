"""FlashAttention (Dao 2024) and its way back, called directly. Shape letters: see `trivium.types`;
d a head's width.

What autograd does between the two is spared: copies of the gradients into one matrix, and their
sums, which `launch.beside` has in one pass.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from trivium.model.fused import launch
from trivium.model.fused.launch import Part, Told


def forward(qkv_N3D: Tensor, told: Told) -> tuple[Tensor, ...]:
    """softmax(q k^T / sqrt(d)) v within each text, and what the way back needs beside it: sums of
    exponentials, and dropout's seed (until PyTorch 2.6 in two tensors)."""
    stream = told.stream
    mixed_NHd, *kept = torch.ops.aten._flash_attention_forward(
        *_parts(qkv_N3D, told.heads), stream.starts, stream.starts, stream.longest, stream.longest,
        told.dropout.p, False, False,
    )  # fmt: skip
    return mixed_NHd.flatten(1), *kept[:3]


def backward(
    grad_ND: Tensor, qkv_N3D: Tensor, mixed: Sequence[Tensor], told: Told, sums: Part
) -> Tensor:
    """Gradients of q, k and v side by side; leaves their columns' sums."""
    stream, shape = told.stream, (len(grad_ND), told.heads, -1)
    mixed_ND, logsumexp, seed, offset = mixed
    dq, dk, dv = torch.ops.aten._flash_attention_backward(
        grad_ND.view(shape), *_parts(qkv_N3D, told.heads), mixed_ND.view(shape), logsumexp,
        stream.starts, stream.starts, stream.longest, stream.longest, told.dropout.p, False,
        seed, offset,
    )  # fmt: skip
    return launch.beside((dq.flatten(1), dk.flatten(1), dv.flatten(1)), sums)


def _parts(qkv_N3D: Tensor, heads: int) -> tuple[Tensor, ...]:
    """q, k and v."""
    tokens, width = qkv_N3D.shape
    return qkv_N3D.view(tokens, 3, heads, width // (3 * heads)).unbind(1)
