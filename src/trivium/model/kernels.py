"""The few operations that decide how fast training is. Shape letters: see `trivium.types`.

Every function here equals plain PyTorch up to rounding (tests compare them); each exists because
it was measured faster on CPUs (`docs/log.md`). The rest of the code never asks about hardware.
"""

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trivium.model.copies import Made, remade
from trivium.model.lowrank import LoraPair, LowRank, Term

Context = Any  # what autograd hands to forward and backward


# --- linear ------------------------------------------------------------------------------------


class Linear(nn.Linear):
    """`nn.Linear` whose fp32 weights also serve bf16 inputs.

    The parameter stays fp32 (it is its own master weight: optimizer, clipping and checkpoints see
    full precision); bf16 inputs meet a bf16 copy that is renewed when the parameter has changed.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__(inputs, outputs, bias)
        self.lora: LoraPair | None = None

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, (self,))


def linear(x: Tensor, parts: Sequence[Linear], *, gelu: bool = False) -> Tensor:
    """`x @ cat(weights).T + cat(biases)`: layers that read one input as one product.

    All parts have a bias, or none has. Where no gradient is wanted, LoRA costs nothing: it is
    folded into the weights.
    gelu: apply the exact (erf) GELU to it, which prediction does within the product.
    """
    on_cpu = x.device.type == "cpu" and _onednn_has(x.dtype) and x.dim() == 2
    on_cpu = on_cpu and not torch.compiler.is_compiling()  # a graph for others has no oneDNN in it
    pairs = _pairs(parts)
    if not torch.is_grad_enabled() and not any(_drops(pair) for _, pair in pairs):
        if on_cpu:
            weight, bias = remade(parts, x.dtype, _packed, _all(parts))
            return _onednn(x, weight, bias, "gelu" if gelu else "none")
        if pairs:
            weight, bias = remade(parts, x.dtype, _folded, _all(parts))
            return _gelu_if(gelu, F.linear(x, weight, bias))
    y = _trainable(x, parts, on_cpu=on_cpu)
    if pairs:
        y = _add_low_rank(y, x, parts, pairs)
    return _gelu_if(gelu, y)


def _gelu_if(gelu: bool, y: Tensor) -> Tensor:
    return F.gelu(y) if gelu else y


def _trainable(x: Tensor, parts: Sequence[Linear], *, on_cpu: bool) -> Tensor:
    weights, biases = _weights(parts), _biases(parts)
    if x.dtype != weights[0].dtype:
        low_weight, low_bias = remade(parts, x.dtype, joined, [*weights, *biases])
        low: Tensor = _MixedLinear.apply(x, low_weight, low_bias, len(parts), *weights, *biases)  # type: ignore[no-untyped-call]
        return low
    weight = weights[0] if len(parts) == 1 else torch.cat(weights)
    bias = _cat_or_none(biases)
    if on_cpu and x.dtype == torch.float32:
        full: Tensor = _OneDNNLinear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
        return full
    return F.linear(x, weight, bias)


_ONEDNN = torch._C._has_mkldnn and hasattr(torch.ops.mkldnn, "_linear_pointwise")
_ONEDNN_BF16 = _ONEDNN and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _onednn_has(dtype: torch.dtype) -> bool:
    """Whether oneDNN multiplies such numbers on this processor; else it refuses them."""
    return _ONEDNN_BF16 if dtype == torch.bfloat16 else _ONEDNN and dtype == torch.float32


def _weights(parts: Sequence[Linear]) -> list[Tensor]:
    return [part.weight for part in parts]


def _biases(parts: Sequence[Linear]) -> list[Tensor]:
    """Of all parts, or none."""
    biases: list[Tensor | None] = [part.bias for part in parts]
    found = [bias for bias in biases if bias is not None]
    assert len(found) in (0, len(parts)), "layers that are one product agree about having a bias"
    return found


def _cat_or_none(biases: Sequence[Tensor]) -> Tensor | None:
    if len(biases) < 2:
        return biases[0] if biases else None
    return torch.cat(tuple(biases))


def joined(parts: Sequence[Linear], dtype: torch.dtype) -> Made:
    """Their weights and biases one below the other, in another precision."""
    return _side_by_side([part.weight for part in parts], parts, dtype)


def _folded(parts: Sequence[Linear], dtype: torch.dtype) -> Made:
    """Each weight with its low-rank addition, added in the parameters' own precision."""
    lora = {place: pair.product() for place, pair in _pairs(parts)}
    weights = [
        part.weight + lora[place] if place in lora else part.weight
        for place, part in enumerate(parts)
    ]
    return _side_by_side(weights, parts, dtype)


def _packed(parts: Sequence[Linear], dtype: torch.dtype) -> Made:
    """The weight in the order of memory that oneDNN's product reads fastest."""
    weight, bias = _folded(parts, dtype)
    return torch.ops.mkldnn._reorder_linear_weight(weight, None), bias


def _side_by_side(weights: list[Tensor], parts: Sequence[Linear], dtype: torch.dtype) -> Made:
    rows = [len(weight) for weight in weights]
    weight = weights[0].new_empty(sum(rows), weights[0].shape[1], dtype=dtype)
    for place, part in zip(torch.split(weight, rows), weights, strict=True):
        place.copy_(part)
    bias = _cat_or_none(_biases(parts))
    return weight, None if bias is None else bias.to(dtype)


class _MixedLinear(torch.autograd.Function):
    """Products in bf16, parameter gradients handed on in fp32."""

    @staticmethod
    def forward(
        ctx: Context,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        parts: int,
        *parameters: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.rows = [p.shape[0] for p in parameters[:parts]]
        return x @ weight.t() if bias is None else torch.addmm(bias, x, weight.t())

    @staticmethod
    def backward(ctx: Context, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        parts = len(ctx.rows)
        wanted = ctx.needs_input_grad[4:]
        grad_x = grad @ weight if ctx.needs_input_grad[0] else None
        # Of frozen weights no gradient is even computed: it is a third of the work.
        grads: list[Tensor | None] = [None] * len(wanted)
        if any(wanted[:parts]):
            grads[:parts] = torch.split(full_product(grad.t(), x), ctx.rows)
        if any(wanted[parts:]):
            grads[parts:] = torch.split(grad.sum(0, dtype=torch.float32), ctx.rows)
        return (grad_x, None, None, None, *grads)


_ADDS_IN_FP32 = hasattr(torch.ops.aten.mm, "dtype")
"""Whether this torch leaves a product of bf16 matrices in the fp32 that GPUs add it up in."""


def full_product(left: Tensor, right: Tensor) -> Tensor:
    """Their product in fp32; on a GPU not even rounded to bf16 on its way."""
    if left.is_cuda and _ADDS_IN_FP32:
        product: Tensor = torch.ops.aten.mm.dtype(left, right, torch.float32)
        return product
    return (left @ right).float()


class _OneDNNLinear(torch.autograd.Function):
    """fp32 through oneDNN forward and for the input's gradient, MKL for the weight's."""

    @staticmethod
    def forward(ctx: Context, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _onednn(x, weight, bias)

    @staticmethod
    def backward(ctx: Context, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        grad = grad.contiguous()
        grad_x = _onednn(grad, weight.t(), None) if ctx.needs_input_grad[0] else None
        grad_weight = grad.t() @ x if ctx.needs_input_grad[1] else None
        grad_bias = grad.sum(0) if ctx.needs_input_grad[2] else None
        return grad_x, grad_weight, grad_bias


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None, then: str = "none") -> Tensor:
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, then, [], "none")
    return y


# --- LoRA beside linear ------------------------------------------------------------------------


Pairs = Sequence[tuple[int, LoraPair]]
"""The parts' low-rank pairs, each with its part's place."""


def lora_of(part: Linear) -> LoraPair | None:
    """A layer's pair, if it has to be added: a merged one is in its weight already."""
    return None if part.lora is None or part.lora.merged else part.lora


def _pairs(parts: Sequence[Linear]) -> Pairs:
    """Those that have to be added."""
    found = ((place, lora_of(part)) for place, part in enumerate(parts))
    return [(place, pair) for place, pair in found if pair is not None]


def _drops(pair: LoraPair) -> bool:
    return pair.training and pair.dropout > 0.0


def _all(parts: Sequence[Linear]) -> list[Tensor]:
    """Every parameter that `_folded` reads."""
    added = [tensor for _, pair in _pairs(parts) for tensor in (pair.a, pair.b)]
    return [*_weights(parts), *_biases(parts), *added]


def _add_low_rank(y: Tensor, x: Tensor, parts: Sequence[Linear], pairs: Pairs) -> Tensor:
    """Each pair's product added to its part's columns of y_NC; y is overwritten."""
    ends = list(accumulate(part.out_features for part in parts))
    terms, parameters = [], []
    for place, pair in pairs:
        columns = slice(ends[place] - parts[place].out_features, ends[place])
        mask = _mask(x, pair.dropout) if _drops(pair) else None
        terms.append(Term(columns, pair.scale, mask, *_copies(pair, x.dtype)))
        parameters += [pair.a, pair.b]
    added: Tensor = LowRank.apply(y, x, terms, *parameters)  # type: ignore[no-untyped-call]
    return added


def _mask(x: Tensor, p: float) -> Tensor:
    if x.device.type == "cpu":
        return dropout_mask(x.shape, p, x.dtype)
    return F.dropout(torch.ones_like(x), p)


def _copies(pair: LoraPair, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    if pair.a.dtype == dtype:
        return pair.a, pair.b
    a, b = remade((pair,), dtype, _low_copies, (pair.a, pair.b))
    assert b is not None
    return a, b


def _low_copies(pairs: Sequence[LoraPair], dtype: torch.dtype) -> Made:
    return pairs[0].a.to(dtype), pairs[0].b.to(dtype)


# --- dropout -----------------------------------------------------------------------------------


def dropout(x: Tensor, p: float, *, training: bool) -> Tensor:
    """Like `F.dropout`. On CPUs its mask costs a fraction: `bernoulli_` is a tenth of a step."""
    if not training or p == 0.0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, p)
    y: Tensor = _Multiply.apply(x, dropout_mask(x.shape, p, x.dtype))  # type: ignore[no-untyped-call]
    return y


def dropout_mask(shape: Sequence[int], p: float, dtype: torch.dtype) -> Tensor:
    """0 with probability p (to 1/65536), else 1 / (1 - p), from torch's global CPU generator."""
    count = math.prod(shape)
    # One 64-bit draw serves four elements, compared as 16-bit integers.
    words = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    threshold = round(p * 65536) - 32768
    keep = words.view(torch.int16)[:count] >= threshold
    return keep.view(tuple(shape)).to(dtype).mul_(1.0 / (1.0 - p))


class _Multiply(torch.autograd.Function):
    """x * constant, without autograd's bookkeeping for the constant."""

    @staticmethod
    def forward(ctx: Context, x: Tensor, constant: Tensor) -> Tensor:
        ctx.save_for_backward(constant)
        return x * constant

    @staticmethod
    def backward(ctx: Context, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.saved_tensors[0], None
