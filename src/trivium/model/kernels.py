"""The few operations that decide how fast training is. Shape letters: see `trivium.types`.

Every function here equals plain PyTorch up to rounding (tests compare them); each exists because
it was measured faster on CPUs (`docs/log.md`). The rest of the code never asks about hardware.
"""

import math
from collections.abc import Callable, Sequence
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


def linear(x: Tensor, parts: Sequence[nn.Linear], *, gelu: bool = False) -> Tensor:
    """`x @ cat(weights).T + cat(biases)`: layers that read one input as one product.

    gelu: apply the exact (erf) GELU to it, which prediction does within the product.
    """
    on_cpu = x.device.type == "cpu" and _ONEDNN and x.dim() == 2
    if on_cpu and not torch.is_grad_enabled():
        weight, bias = _remade(parts, x.dtype, _packed)
        return _onednn(x, weight, bias, "gelu" if gelu else "none")
    y = _trainable(x, parts, on_cpu=on_cpu)
    return F.gelu(y) if gelu else y


def _trainable(x: Tensor, parts: Sequence[nn.Linear], *, on_cpu: bool) -> Tensor:
    weights: list[Tensor] = [part.weight for part in parts]
    biases: list[Tensor] = [part.bias for part in parts]
    if x.dtype != weights[0].dtype:
        low_weight, low_bias = _remade(parts, x.dtype, _joined)
        low: Tensor = _MixedLinear.apply(x, low_weight, low_bias, *weights, *biases)  # type: ignore[no-untyped-call]
        return low
    weight = weights[0] if len(parts) == 1 else torch.cat(weights)
    bias = biases[0] if len(parts) == 1 else torch.cat(biases)
    if on_cpu and x.dtype == torch.float32:
        full: Tensor = _OneDNNLinear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
        return full
    return F.linear(x, weight, bias)


_ONEDNN = torch._C._has_mkldnn and hasattr(torch.ops.mkldnn, "_linear_pointwise")

Maker = Callable[[Sequence[nn.Linear], torch.dtype], tuple[Tensor, Tensor]]


def _remade(parts: Sequence[nn.Linear], dtype: torch.dtype, make: Maker) -> tuple[Tensor, Tensor]:
    """What `make` makes of the parts' weights and biases; anew only after a parameter changed."""
    # `_version` counts in-place changes, which is how optimizers and `load_state_dict` write.
    # Fused optimizers do not count theirs: `parts.optim` does it for them.
    stamp = (dtype, *((p.data_ptr(), p._version) for part in parts for p in part.parameters()))
    kept = parts[0].__dict__.setdefault("_remade", {})
    if make not in kept or kept[make][0] != stamp:
        # Not as inference tensors: the copy made by an evaluation may serve the next training step.
        with torch.inference_mode(False), torch.no_grad():
            kept[make] = (stamp, *make(parts, dtype))
    _, weight, bias = kept[make]
    return weight, bias


def _joined(parts: Sequence[nn.Linear], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    weight = torch.cat([part.weight for part in parts]).to(dtype)
    return weight, torch.cat([part.bias for part in parts]).to(dtype)


def _packed(parts: Sequence[nn.Linear], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The weight in the order of memory that oneDNN's product reads fastest."""
    weight, bias = _joined(parts, dtype)
    return torch.ops.mkldnn._reorder_linear_weight(weight, None), bias


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


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None, then: str = "none") -> Tensor:
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, then, [], "none")
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


TEXTS_PER_GROUP = 8
MOST_GROUPS = 3


@dataclass(frozen=True, slots=True)
class Group:
    """Texts of like length, and where their tokens stand in a padded [G, L] grid of their own."""

    texts: int
    longest: int
    tokens_n: Tensor
    """Packed position of each of the group's tokens."""
    slots_n: Tensor
    """Its place in the flattened grid."""
    grid_S: Tensor
    """For each place of the grid the packed token that stands there; at padding, any token."""
    mask_G1L: Tensor | None
    """0 for a token, -inf for padding; None where there is none."""


Layout = Sequence[Group]
"""Attention works group by group, so that a long text does not make all the others long."""


def layout(lengths_R: Tensor, longest: int) -> Layout:
    """Groups of texts by length. On a GPU one group: there, launches cost more than padding."""
    texts = len(lengths_R)
    starts_R = lengths_R.cumsum(0) - lengths_R
    if lengths_R.device.type != "cpu":
        return [_group(lengths_R, starts_R, longest)]
    count = max(1, min(MOST_GROUPS, texts // TEXTS_PER_GROUP))
    chosen = lengths_R.argsort(stable=True).tensor_split(count)
    return [_group(lengths_R[g], starts_R[g], int(lengths_R[g[-1]])) for g in chosen]


def _group(lengths_G: Tensor, starts_G: Tensor, longest: int) -> Group:
    place_L = torch.arange(longest, device=lengths_G.device)
    real_GL = place_L < lengths_G[:, None]
    token_GL = starts_G[:, None] + place_L
    # Padding repeats the text's last token: a finite value, hidden by the mask.
    grid_S = torch.minimum(token_GL, (starts_G + lengths_G - 1)[:, None]).flatten()
    slots_n = real_GL.flatten().nonzero().squeeze(1)
    mask_G1L = None
    if len(slots_n) < len(grid_S):
        mask_GL = torch.zeros(real_GL.shape, device=lengths_G.device)
        mask_G1L = mask_GL.masked_fill_(~real_GL, float("-inf"))[:, None]
    return Group(len(lengths_G), longest, grid_S[slots_n], slots_n, grid_S, mask_G1L)


def attention(qkv_N3D: Tensor, groups: Layout, heads: int, p: float) -> Tensor:
    """softmax(q k^T / sqrt(D / H)) v within each text: qkv_N3D -> mixed_ND.

    p: probability of dropping an attention weight.
    """
    if torch.is_grad_enabled() and qkv_N3D.requires_grad and qkv_N3D.device.type == "cpu":
        mixed: Tensor = _Attention.apply(qkv_N3D, groups, heads, p)  # type: ignore[no-untyped-call]
        return mixed
    mixed_ND = qkv_N3D.new_empty(qkv_N3D.shape[0], qkv_N3D.shape[1] // 3)
    for group in groups:
        q, k, v = _grid(qkv_N3D, group, heads).permute(2, 0, 3, 1, 4)
        mask = None if group.mask_G1L is None else group.mask_G1L[:, None].to(q.dtype)
        mixed_GHLd = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p)
        mixed_SD = mixed_GHLd.transpose(1, 2).reshape(len(group.grid_S), -1)
        mixed_ND = mixed_ND.index_copy(0, group.tokens_n, mixed_SD[group.slots_n])
    return mixed_ND


def _grid(x_NC: Tensor, group: Group, heads: int) -> Tensor:
    """The group's tokens on its grid: x_N3D -> x_GL3Hd."""
    grid_SC = x_NC.index_select(0, group.grid_S)
    return grid_SC.view(group.texts, group.longest, 3, heads, -1)


class _Attention(torch.autograd.Function):
    """Attention with its backward written out: no autograd inside, three matrices kept a group."""

    @staticmethod
    def forward(ctx: Context, qkv_N3D: Tensor, groups: Layout, heads: int, p: float) -> Tensor:
        ctx.groups, ctx.heads = groups, heads
        mixed_ND = qkv_N3D.new_empty(qkv_N3D.shape[0], qkv_N3D.shape[1] // 3)
        kept: list[Tensor | None] = []
        for group in groups:
            grid = _grid(qkv_N3D, group, heads).permute(2, 0, 3, 1, 4)
            q, k, v = grid.reshape(3, group.texts * heads, group.longest, -1).unbind(0)
            scores = torch.bmm(q, k.transpose(1, 2)).mul_(q.shape[-1] ** -0.5)
            if group.mask_G1L is not None:
                by_text = scores.view(group.texts, heads * group.longest, group.longest)
                by_text.add_(group.mask_G1L.to(scores.dtype))
            weights = torch.softmax(scores, -1)
            mask = dropout_mask(weights.shape, p, weights.dtype) if p else None
            dropped = weights if mask is None else weights * mask
            mixed = torch.bmm(dropped, v).view(group.texts, heads, group.longest, -1)
            mixed_SD = mixed.transpose(1, 2).reshape(len(group.grid_S), -1)
            mixed_ND.index_copy_(0, group.tokens_n, mixed_SD.index_select(0, group.slots_n))
            kept += [q, k, v, weights, dropped, mask]
        ctx.save_for_backward(*kept)
        return mixed_ND

    @staticmethod
    def backward(ctx: Context, grad_ND: Tensor) -> tuple[Tensor, None, None, None]:
        grad_N3D = grad_ND.new_empty(grad_ND.shape[0], 3 * grad_ND.shape[1])
        for index, group in enumerate(ctx.groups):
            kept = ctx.saved_tensors[6 * index : 6 * index + 6]
            grad_S3D = _attention_backward(grad_ND, group, ctx.heads, kept)
            grad_N3D.index_copy_(0, group.tokens_n, grad_S3D.index_select(0, group.slots_n))
        return grad_N3D, None, None, None


def _attention_backward(
    grad_ND: Tensor, group: Group, heads: int, kept: Sequence[Tensor]
) -> Tensor:
    """Gradient of one group's q, k and v on its grid: grad_S3D."""
    q, k, v, weights, dropped, mask = kept
    size = q.shape[-1]
    # Zero at padding, whose outputs nobody reads.
    grad_SD = grad_ND.new_zeros(len(group.grid_S), grad_ND.shape[1])
    grad_SD.index_copy_(0, group.slots_n, grad_ND.index_select(0, group.tokens_n))
    grid = grad_SD.view(group.texts, group.longest, heads, size).transpose(1, 2)
    grad = grid.reshape(group.texts * heads, group.longest, size)
    grad_weights = torch.bmm(grad, v.transpose(1, 2))
    if mask is not None:
        grad_weights.mul_(mask)
    grad_scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
    grad_scores.mul_(size**-0.5)
    out = grad_ND.new_empty(group.texts, group.longest, 3, heads, size)
    for index, part in enumerate(
        (
            torch.bmm(grad_scores, k),
            torch.bmm(grad_scores.transpose(1, 2), q),
            torch.bmm(dropped.transpose(1, 2), grad),
        )
    ):
        by_head = part.view(group.texts, heads, group.longest, size)
        out[:, :, index].copy_(by_head.transpose(1, 2))
    return out.view(len(group.grid_S), -1)
