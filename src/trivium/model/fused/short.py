"""Attention within texts that are all short: a whole text and head to a program, there and back.

FlashAttention's way back is three kernels and leaves three tensors; this is one, with the gradients
side by side and their sums. It keeps nothing, and adds nothing up in an order of chance. Shape
letters: see `trivium.types`.
"""

from collections.abc import Sequence

from torch import Tensor

from trivium.model.fused import launch
from trivium.model.fused.launch import Part, Told

LONGEST = 64
"""Tokens of a text: its weights, with their gradients, fit into a program's registers."""


def suits(longest: int, size: int) -> bool:
    """Whether there are kernels for such texts and a head of that width."""
    return longest <= LONGEST and size in (16, 32, 64)


def forward(qkv_N3D: Tensor, told: Told) -> tuple[Tensor, ...]:
    """softmax(q k^T / sqrt(d)) v within each text."""
    return (launch.attend(qkv_N3D, told),)


def backward(
    grad_ND: Tensor, qkv_N3D: Tensor, mixed: Sequence[Tensor], told: Told, sums: Part
) -> Tensor:
    """Gradients of q, k and v side by side; leaves their columns' sums."""
    del mixed
    return launch.attend_back(grad_ND, qkv_N3D, told, sums)
