"""What the two passes through a stack of layers are told, and what one keeps for the other.

Shape letters: see `trivium.types`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from trivium.model.native.library import Library
from trivium.model.native.stack import LayerModules, LayerWeights, Stack

PLAIN, BIAS, GELU, GELU_SLOPE, TIMES, ADD = range(6)
"""What becomes of a product's numbers; see `native/product.h`."""


@dataclass(slots=True)
class Shares:
    """Groups of a pass's texts, which each get gradients of the layers' parameters by themselves:
    the backward pass leaves them here, and none with the parameters."""

    texts: Sequence[int]
    """How many, group by group."""
    grads: list[dict[int, Tensor]] = field(default_factory=list)
    """Of each group by the parameters' ids, in fp32."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be computed, and of what."""

    library: Library
    stack: Stack
    heads: int
    eps: float
    hidden_dropout: float
    attention_dropout: float
    lengths_R: Tensor
    part: range
    """The layers that are to be passed."""
    learns_from: int
    """The lowest layer that a backward pass will come to; the layers' number: none will follow."""
    first_only: bool
    """Whether of the last layer only the texts' first tokens are read: the others' are zeros."""
    shares: Shares | None = None

    @property
    def numbers(self) -> torch.dtype:
        """What everything is computed in that is not said to be fp32."""
        return self.library.form.numbers

    @property
    def learns(self) -> bool:
        """Whether a backward pass will follow."""
        return self.learns_from < self.part.stop


@dataclass(slots=True)
class Kept:
    """What one layer's backward pass needs of its forward pass."""

    modules: LayerModules
    weights: LayerWeights
    x_ND: Tensor
    qkv_N3D: Tensor
    attention: Tensor
    """After softmax, before dropout: for each text [H, L, L up to a multiple of 16]."""
    attention_mask: Tensor | None
    mixed_ND: Tensor
    first: "Normed"
    y_ND: Tensor
    """What `first` ends in."""
    inner_NI: Tensor
    slope_NI: Tensor
    second: "Normed"
    """What this ends in is not kept: of the last layer it is autograd's output, which holds all
    that is kept, and would be held by it in turn."""


@dataclass(frozen=True, slots=True)
class Normed:
    """The end of half a layer: y = LayerNorm(before), before = residual + dropout(product)."""

    before_ND: Tensor | None
    mask: Tensor | None
    """[N, D / 32] words, a bit for every number that dropout kept."""
    stats_N2: Tensor | None
    """Mean and 1 / standard deviation."""


class Places(NamedTuple):
    """Where the texts' tokens, and their attention weights, begin."""

    starts_R: Tensor
    lengths_R: Tensor
    rows_R: Tensor
    """In rows of 16 weights of one head."""
    rows: int
    """Of one head, in all."""

    @classmethod
    def of(cls, lengths_R: Tensor) -> "Places":
        lengths_R = lengths_R.contiguous()
        area_R = lengths_R * ((lengths_R + 15) // 16)
        ends_R = area_R.cumsum(0)
        return cls(lengths_R.cumsum(0) - lengths_R, lengths_R, ends_R - area_R, int(ends_R[-1]))


def everywhere(x_RD: Tensor, starts_R: Tensor, tokens: int) -> Tensor:
    """The rows of the texts' first tokens where they stand, and zeros for all others."""
    return x_RD.new_zeros(tokens, x_RD.shape[1]).index_copy_(0, starts_R, x_RD)
