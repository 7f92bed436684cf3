"""The few operations that decide how fast training is. Shape letters: see `trivium.types`.

Every function here equals plain PyTorch up to rounding (tests compare them); each exists because
it was measured faster on CPUs (`docs/log.md`). The rest of the code never asks about hardware.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Context = Any  # what autograd hands to forward and backward


# --- linear ------------------------------------------------------------------------------------


class Linear(nn.Linear):
    """`nn.Linear` whose fp32 weights also serve bf16 inputs.

    The parameter stays fp32 (it is its own master weight: optimizer, clipping and checkpoints see
    full precision); bf16 inputs meet a bf16 copy that is renewed when the parameter has changed.
    """

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, (self,))


def linear(x: Tensor, parts: Sequence[nn.Linear]) -> Tensor:
    """`x @ cat(weights).T + cat(biases)`: layers that read one input as one product."""
    weights: list[Tensor] = [part.weight for part in parts]
    biases: list[Tensor] = [part.bias for part in parts]
    if x.dtype != weights[0].dtype:
        low_weight, low_bias = _low_precision(parts, x.dtype)
        low: Tensor = _MixedLinear.apply(x, low_weight, low_bias, *weights, *biases)  # type: ignore[no-untyped-call]
        return low
    weight = weights[0] if len(parts) == 1 else torch.cat(weights)
    bias = biases[0] if len(parts) == 1 else torch.cat(biases)
    if x.device.type == "cpu" and x.dtype == torch.float32 and _ONEDNN and x.dim() == 2:
        full: Tensor = _OneDNNLinear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
        return full
    return F.linear(x, weight, bias)


_ONEDNN = torch._C._has_mkldnn and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _low_precision(parts: Sequence[nn.Linear], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The parts' joint weight and bias in `dtype`, made anew only after a parameter changed."""
    first = parts[0]
    # `_version` counts in-place changes, which is how optimizers and `load_state_dict` write.
    # Fused optimizers do not count theirs: `parts.optim` does it for them.
    stamp = (dtype, *((p.data_ptr(), p._version) for part in parts for p in part.parameters()))
    cached = first.__dict__.get("_low")
    if cached is None or cached[0] != stamp:
        # Not as inference tensors: the copy made by an evaluation may serve the next training step.
        with torch.inference_mode(False), torch.no_grad():
            weight = torch.cat([part.weight for part in parts]).to(dtype)
            bias = torch.cat([part.bias for part in parts]).to(dtype)
        cached = first.__dict__["_low"] = (stamp, weight, bias)
    return cached[1], cached[2]


class _MixedLinear(torch.autograd.Function):
    """Products in bf16, parameter gradients handed on in fp32."""

    @staticmethod
    def forward(
        ctx: Context, x: Tensor, weight: Tensor, bias: Tensor, *parameters: Tensor
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.rows = [p.shape[0] for p in parameters[: len(parameters) // 2]]
        return torch.addmm(bias, x, weight.t())

    @staticmethod
    def backward(ctx: Context, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad_x = grad @ weight if ctx.needs_input_grad[0] else None
        if not any(ctx.needs_input_grad[3:]):
            return (grad_x, *[None] * (2 + 2 * len(ctx.rows)))
        grad_weight = torch.split((grad.t() @ x).float(), ctx.rows)
        grad_bias = torch.split(grad.sum(0, dtype=torch.float32), ctx.rows)
        return (grad_x, None, None, *grad_weight, *grad_bias)


class _OneDNNLinear(torch.autograd.Function):
    """fp32 through oneDNN forward and for the input's gradient, MKL for the weight's."""

    @staticmethod
    def forward(ctx: Context, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
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


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return y


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


# --- attention ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Layout:
    """Where each packed token stands in the padded [R, L] grid that attention works on."""

    texts: int
    longest: int
    slots_N: Tensor | None
    """Index into the flattened grid; None when every text is `longest` long."""
    mask_R11L: Tensor | None
    """0 for a token, -inf for padding."""


def layout(lengths_R: Tensor, longest: int, tokens: int) -> Layout:
    texts = len(lengths_R)
    if texts * longest == tokens:
        return Layout(texts, longest, None, None)
    real_RL = torch.arange(longest, device=lengths_R.device)[None] < lengths_R[:, None]
    mask_RL = torch.zeros(real_RL.shape, device=lengths_R.device)
    mask_RL.masked_fill_(~real_RL, float("-inf"))
    slots_N = torch.nonzero_static(real_RL.flatten(), size=tokens).squeeze(1)
    return Layout(texts, longest, slots_N, mask_RL[:, None, None, :])


def attention(qkv_N3D: Tensor, where: Layout, heads: int, p: float) -> Tensor:
    """softmax(q k^T / sqrt(D / H)) v within each text: qkv_N3D -> mixed_ND.

    p: probability of dropping an attention weight.
    """
    if torch.is_grad_enabled() and qkv_N3D.requires_grad and qkv_N3D.device.type == "cpu":
        mixed: Tensor = _Attention.apply(qkv_N3D, where, heads, p)  # type: ignore[no-untyped-call]
        return mixed
    q, k, v = (
        _scatter(qkv_N3D, where)
        .view(where.texts, where.longest, 3, heads, -1)
        .permute(2, 0, 3, 1, 4)
    )
    mask = None if where.mask_R11L is None else where.mask_R11L.to(q.dtype)
    mixed_RHLd = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p)
    return _gather(mixed_RHLd.transpose(1, 2).reshape(where.texts * where.longest, -1), where)


def _scatter(x_NC: Tensor, where: Layout) -> Tensor:
    if where.slots_N is None:
        return x_NC
    return x_NC.new_zeros(where.texts * where.longest, x_NC.shape[1]).index_copy(
        0, where.slots_N, x_NC
    )


def _gather(x_SC: Tensor, where: Layout) -> Tensor:
    return x_SC if where.slots_N is None else x_SC.index_select(0, where.slots_N)


class _Attention(torch.autograd.Function):
    """Attention with its backward written out: three saved matrices, no autograd inside."""

    @staticmethod
    def forward(ctx: Context, qkv_N3D: Tensor, where: Layout, heads: int, p: float) -> Tensor:
        texts, longest = where.texts, where.longest
        width = qkv_N3D.shape[1] // 3
        grid = _scatter(qkv_N3D, where).view(texts, longest, 3, heads, width // heads)
        q, k, v = (
            part.reshape(texts * heads, longest, -1)
            for part in grid.permute(2, 0, 3, 1, 4).unbind(0)
        )
        scores = torch.bmm(q, k.transpose(1, 2)).mul_(1.0 / math.sqrt(width // heads))
        if where.mask_R11L is not None:
            scores.view(texts, heads, longest, longest).add_(where.mask_R11L.to(scores.dtype))
        weights = torch.softmax(scores, -1)
        mask = dropout_mask(weights.shape, p, weights.dtype) if p else None
        dropped = weights if mask is None else weights * mask
        mixed = torch.bmm(dropped, v).view(texts, heads, longest, -1).transpose(1, 2)
        ctx.save_for_backward(q, k, v, weights, dropped, mask)
        ctx.where, ctx.heads = where, heads
        return _gather(mixed.reshape(texts * longest, width), where)

    @staticmethod
    def backward(ctx: Context, grad_ND: Tensor) -> tuple[Tensor, None, None, None]:
        q, k, v, weights, dropped, mask = ctx.saved_tensors
        where, heads = ctx.where, ctx.heads
        texts, longest, size = where.texts, where.longest, q.shape[-1]
        grid = _scatter(grad_ND, where).view(texts, longest, heads, size).transpose(1, 2)
        grad = grid.reshape(texts * heads, longest, size)
        grad_weights = torch.bmm(grad, v.transpose(1, 2))
        if mask is not None:
            grad_weights.mul_(mask)
        grad_scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
        grad_scores.mul_(1.0 / math.sqrt(size))
        out = grad_ND.new_empty(texts, longest, 3, heads, size)
        for index, part in enumerate(
            (
                torch.bmm(grad_scores, k),
                torch.bmm(grad_scores.transpose(1, 2), q),
                torch.bmm(dropped.transpose(1, 2), grad),
            )
        ):
            out[:, :, index].copy_(part.view(texts, heads, longest, size).transpose(1, 2))
        return _gather(out.view(texts * longest, -1), where), None, None, None
