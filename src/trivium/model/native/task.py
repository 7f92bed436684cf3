"""What the two passes through a stack of layers are told, and what one keeps for the other.

Shape letters: see `trivium.types`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from trivium.model.kernels import Linear, lora_of
from trivium.model.native.library import Library
from trivium.model.native.weights import Packed, packed

PLAIN, BIAS, GELU, GELU_SLOPE, TIMES, ADD = range(6)
"""What becomes of a product's numbers; see `native/product.h`."""

BF16 = torch.bfloat16
"""What everything is computed in that is not said to be fp32."""


class LayerModules(NamedTuple):
    """What one layer consists of."""

    qkv: tuple[Linear, Linear, Linear]
    mixed: Linear
    """What follows attention."""
    mixed_norm: nn.LayerNorm
    inner: Linear
    outer: Linear
    outer_norm: nn.LayerNorm

    def linear(self) -> tuple[Linear, ...]:
        return (*self.qkv, self.mixed, self.inner, self.outer)

    def parameters(self) -> list[Tensor]:
        """All that the layer is made of, with LoRA's pairs."""
        found = [p for norm in (self.mixed_norm, self.outer_norm) for p in (norm.weight, norm.bias)]
        for part in self.linear():
            found += [part.weight, part.bias]
            if (pair := lora_of(part)) is not None:
                found += [pair.a, pair.b]
        return found


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be computed, and of what."""

    library: Library
    layers: Sequence[LayerModules]
    heads: int
    eps: float
    hidden_dropout: float
    attention_dropout: float
    lengths_R: Tensor
    learns: bool
    """Whether a backward pass will follow."""
    first_only: bool
    """Whether of the last layer only the texts' first tokens are read: the others' are zeros."""


@dataclass(slots=True)
class Kept:
    """What one layer's backward pass needs of its forward pass."""

    modules: LayerModules
    weights: "LayerWeights"
    x_ND: Tensor
    qkv_N3D: Tensor
    attention: Tensor
    """After softmax, before dropout: for each text [H, L, L up to a multiple of 16]."""
    attention_mask: Tensor | None
    mixed_ND: Tensor
    first: "Normed"
    inner_NI: Tensor
    slope_NI: Tensor
    second: "Normed"


@dataclass(frozen=True, slots=True)
class Normed:
    """The end of half a layer: y = LayerNorm(before), before = residual + dropout(product)."""

    y_ND: Tensor
    before_ND: Tensor | None
    mask: Tensor | None
    """[N, D / 32] words, a bit for every number that dropout kept."""
    stats_N2: Tensor | None
    """Mean and 1 / standard deviation."""


class LayerWeights(NamedTuple):
    qkv: Packed
    mixed: Packed
    inner: Packed
    outer: Packed

    @classmethod
    def of(cls, modules: LayerModules, library: Library, *, learns: bool) -> "LayerWeights":
        weights = cls(
            packed(modules.qkv), packed((modules.mixed,)), packed((modules.inner,)),
            packed((modules.outer,)),
        )  # fmt: skip
        for each in weights:
            each.refresh(library, learns=learns)
        return weights


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
