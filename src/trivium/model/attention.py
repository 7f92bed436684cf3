"""Attention on packed texts, in groups of like length. Shape letters: see `trivium.types`.

Small letters: n tokens, G texts and S places of one group's padded grid, d a head's width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from trivium.model.kernels import dropout_mask
from trivium.types import Tokens

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


@dataclass(frozen=True, slots=True)
class Grid:
    """A stream that is a padded grid itself, as in exported graphs: in place of N stand R and L,
    and padding has tokens of its own, which nobody reads."""

    mask_R1L: Tensor
    """0 for a token; for padding a number so low that its weight is 0."""


@dataclass(frozen=True, slots=True)
class Even:
    """A packed stream of texts that are all of one length: a grid already, with no padding. Only
    where nothing is learned and nothing is dropped."""

    texts: int


@dataclass(frozen=True)
class Stream:
    """A packed stream on a GPU, whose attention goes from text to text by where they start."""

    lengths_R: Tensor
    longest: int
    starts: Tensor
    """int32 [R + 1]: where each text starts, and where the last one ends."""

    @classmethod
    def of(cls, lengths_R: Tensor, longest: int) -> "Stream":
        starts = F.pad(lengths_R.cumsum(0, dtype=torch.int32), (1, 0))
        return cls(lengths_R, longest, starts)

    @cached_property
    def groups(self) -> Sequence[Group]:
        """The same on one padded grid, for what the fused kernel has no form of."""
        starts_R = self.lengths_R.cumsum(0) - self.lengths_R
        return [_group(self.lengths_R, starts_R, self.longest)]


Layout = Sequence[Group] | Grid | Even | Stream
"""Attention works group by group, so that a long text does not make all the others long."""


def arranged(tokens: Tokens, *, is_read: bool = False) -> Layout:
    """How attention sees a packed stream: on a GPU as it is. is_read: nothing is learned, and
    nothing dropped."""
    texts, lengths_R = len(tokens.lengths_R), tokens.lengths_R
    if is_read and len(tokens.ids_N) == texts * tokens.longest:
        return Even(texts)
    if lengths_R.device.type != "cpu":
        return Stream.of(lengths_R, tokens.longest)
    return layout(lengths_R)


def layout(lengths_R: Tensor) -> Sequence[Group]:
    """Groups of texts by length."""
    texts = len(lengths_R)
    starts_R = lengths_R.cumsum(0) - lengths_R
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
    if isinstance(groups, Grid):
        return _on_grid(qkv_N3D, groups.mask_R1L[:, None], heads)
    if isinstance(groups, Even):
        tokens, width = qkv_N3D.shape
        grid = qkv_N3D.view(groups.texts, tokens // groups.texts, width)
        return _on_grid(grid, None, heads).view(tokens, width // 3)
    if isinstance(groups, Stream):
        if has_fused(qkv_N3D.dtype, qkv_N3D.shape[1] // (3 * heads)):
            return _fused(qkv_N3D, groups, heads, p)
        groups = groups.groups
    learns = torch.is_grad_enabled() and qkv_N3D.requires_grad
    # With dropout always by one way, so that a pass without gradient can repeat another's masks.
    if qkv_N3D.device.type == "cpu" and (learns or p > 0):
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


def has_fused(dtype: torch.dtype, width: int) -> bool:
    """Whether FlashAttention (Dao 2024) has a kernel for such numbers and a head of such a width;
    without it lengths must be known as numbers, and nothing can be recorded."""
    return dtype in (torch.bfloat16, torch.float16) and width % 8 == 0 and width <= 256


def _fused(qkv_N3D: Tensor, stream: Stream, heads: int, p: float) -> Tensor:
    """By texts' starts: no padding, no mask, and no matrix of weights in memory.

    Called directly, since `varlen_attn`, which is public, drops no weights.
    """
    tokens, width = qkv_N3D.shape
    q, k, v = qkv_N3D.view(tokens, 3, heads, width // (3 * heads)).unbind(1)
    mixed_NHd, *_ = torch.ops.aten._flash_attention_forward(
        q, k, v, stream.starts, stream.starts, stream.longest, stream.longest, p, False, False
    )
    mixed_ND: Tensor = mixed_NHd.reshape(tokens, width // 3)
    return mixed_ND


def _on_grid(qkv_RLC: Tensor, mask: Tensor | None, heads: int) -> Tensor:
    """The same where nothing has to be moved to be on a grid: qkv_RLC -> mixed_RLD."""
    texts, longest = qkv_RLC.shape[:2]
    q, k, v = (
        part_RLD.reshape(texts, longest, heads, -1).transpose(1, 2)
        for part_RLD in qkv_RLC.chunk(3, dim=2)
    )
    mixed_RHLd = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return mixed_RHLd.transpose(1, 2).flatten(2)


def _grid(x_NC: Tensor, group: Group, heads: int) -> Tensor:
    """The group's tokens on its grid: x_N3D -> x_GL3Hd."""
    grid_SC = x_NC.index_select(0, group.grid_S)
    return grid_SC.view(group.texts, group.longest, 3, heads, -1)


class _Attention(torch.autograd.Function):
    """Attention with its backward written out: no autograd inside, three matrices kept a group."""

    @staticmethod
    def forward(ctx: Any, qkv_N3D: Tensor, groups: Sequence[Group], heads: int, p: float) -> Tensor:
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
    def backward(ctx: Any, grad_ND: Tensor) -> tuple[Tensor, None, None, None]:
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
