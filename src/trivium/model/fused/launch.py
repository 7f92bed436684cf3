"""The kernels as functions of tensors: what they write, on how many programs. Shape letters: see
`trivium.types`; C: columns of a matrix.
"""

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import ModuleType

import torch
from torch import Tensor

from trivium.model.attention import Stream

GROUP = 4
"""Rows that a program has at a time, as in `kernels`."""
PROGRAMS = 512
"""At most, of a kernel that adds up columns: no function of the GPU, since they make the order of a
sum. Enough for four on each of its processors, few enough that their sums are soon added up."""
NARROW = 512
"""Columns of a matrix that one program has, where it needs not all of them."""
PER_WARP = 256
"""Columns of a warp: 16 bytes of bf16 for each of its threads."""
ADDED = 32
"""Columns that a program adds up over all programs."""


@dataclass(frozen=True, slots=True)
class Dropout:
    """Zero with probability p, else 1 / (1 - p): a function of the seed and of the place."""

    p: float
    seed: Tensor
    """int64 [1], on the device: a recorded graph draws a new one each time. Read only where p > 0.
    """
    place: int
    """Tells dropouts that have one seed apart."""

    @property
    def threshold(self) -> int:
        """Of 24 bits."""
        return round(self.p * 2**24)

    @property
    def scale(self) -> float:
        return 1.0 / (1.0 - self.p)


@dataclass(frozen=True, slots=True)
class Moments:
    """Of LayerNorm's rows."""

    mean_N: Tensor
    rstd_N: Tensor


@dataclass(frozen=True, slots=True)
class Norm:
    """LayerNorm's parameters, in fp32."""

    weight_D: Tensor
    bias_D: Tensor
    eps: float


@dataclass(frozen=True, slots=True)
class Normed:
    """What a `norm` keeps for the way back."""

    update_ND: Tensor
    residual_ND: Tensor
    weight_D: Tensor
    dropout: Dropout
    moments: Moments


@dataclass(frozen=True, slots=True)
class Told:
    """What attention is told of a layer."""

    stream: Stream
    heads: int
    dropout: Dropout
    """Of a weight. FlashAttention draws for itself."""

    @property
    def texts(self) -> int:
        return len(self.stream.starts) - 1

    def sizes(self, width: int) -> dict[str, int]:
        """What the kernels of short texts are made for."""
        length = _block(self.stream.longest)
        return {"WIDTH": width, "SIZE": width // self.heads, "LENGTH": length}


@dataclass(frozen=True, slots=True)
class Part:
    """Where one kernel leaves its sums: a row for each program, among those of other kernels."""

    place: Tensor
    programs: int
    columns: int
    """Of all kernels."""


class Sums:
    """Where a layer's kernels leave the sums of their columns, all added up at once."""

    def __init__(self, tokens: int, widths: list[int], device: torch.device) -> None:
        """widths: of the parts, each of which one kernel fills."""
        rounds = -(-_groups(tokens) // PROGRAMS)
        self.widths, self.programs = widths, -(-_groups(tokens) // rounds)  # all of them are busy
        self.columns = sum(widths)
        self._all = torch.empty(self.programs, self.columns, dtype=torch.float32, device=device)
        places = torch.split(self._all, widths, dim=1)
        self.parts = [Part(place, self.programs, self.columns) for place in places]

    def added(self) -> tuple[Tensor, ...]:
        """The parts' sums, fp32."""
        out_C = self._all.new_empty(self.columns)
        grid = (-(-self.columns // ADDED),)
        _kernels().add_up[grid](
            self._all, out_C, self.columns, self.programs, BLOCK=ADDED, num_warps=4
        )
        return torch.split(out_C, self.widths)


def norm(
    update_ND: Tensor, residual_ND: Tensor, norm: Norm, dropout: Dropout
) -> tuple[Tensor, Moments]:
    """LayerNorm(residual + dropout(update)), and what `norm_back` needs of it."""
    tokens, width = update_ND.shape
    out_ND = torch.empty_like(residual_ND)
    mean_N, rstd_N = torch.empty(2, tokens, dtype=torch.float32, device=update_ND.device)
    block = _block(width)
    _kernels().norm[(_groups(tokens),)](
        update_ND, residual_ND, norm.weight_D, norm.bias_D, dropout.seed, out_ND, mean_N, rstd_N,
        tokens, dropout.place, dropout.threshold, dropout.scale, norm.eps,
        WIDTH=width, BLOCK=block, DROPS=dropout.p > 0.0, num_warps=_warps(block),
    )  # fmt: skip
    return out_ND, Moments(mean_N, rstd_N)


def norm_back(grad_ND: Tensor, kept: Normed, sums: Part) -> tuple[Tensor, Tensor]:
    """Gradients of residual and update, which are one tensor where nothing is dropped.

    Leaves sums for the gradients of weight, bias and the update's own bias, side by side.
    """
    tokens, width = grad_ND.shape
    drops = kept.dropout.p > 0.0
    to_residual_ND = torch.empty_like(grad_ND)
    to_update_ND = torch.empty_like(grad_ND) if drops else to_residual_ND
    block = _block(width)
    _kernels().norm_back[(sums.programs,)](
        grad_ND, kept.update_ND, kept.residual_ND, kept.weight_D, kept.dropout.seed,
        kept.moments.mean_N, kept.moments.rstd_N, to_residual_ND, to_update_ND, sums.place,
        sums.columns, tokens, kept.dropout.place, kept.dropout.threshold, kept.dropout.scale,
        WIDTH=width, BLOCK=block, DROPS=drops, num_warps=_warps(block),
    )  # fmt: skip
    return to_residual_ND, to_update_ND


def gelu_back_(grad_NC: Tensor, x_NC: Tensor, sums: Part) -> Tensor:
    """The gradient of GELU's input, in place of that of its output; leaves its columns' sums."""
    tokens, width = grad_NC.shape
    block = min(_block(width), NARROW)
    _kernels().gelu_back[(sums.programs, -(-width // block))](
        grad_NC, x_NC, sums.place, sums.columns, tokens,
        WIDTH=width, BLOCK=block, num_warps=_warps(block),
    )  # fmt: skip
    return grad_NC


def beside(parts: tuple[Tensor, Tensor, Tensor], sums: Part) -> Tensor:
    """Three matrices x_ND as one x_N3D; leaves its columns' sums."""
    tokens, width = parts[0].shape
    out_N3D = parts[0].new_empty(tokens, 3 * width)
    block = _block(width)
    _kernels().beside[(sums.programs,)](
        *parts, out_N3D, sums.place, sums.columns, tokens,
        WIDTH=width, BLOCK=block, num_warps=_warps(block),
    )  # fmt: skip
    return out_N3D


def attend(qkv_N3D: Tensor, told: Told) -> Tensor:
    """Attention within texts of up to 64 tokens: mixed_ND."""
    tokens, width = len(qkv_N3D), qkv_N3D.shape[1] // 3
    out_ND = qkv_N3D.new_empty(tokens, width)
    dropout = told.dropout
    _kernels().attend[(told.texts, told.heads)](
        qkv_N3D, told.stream.starts, dropout.seed, out_ND,
        dropout.place, dropout.threshold, dropout.scale, (width // told.heads) ** -0.5,
        **told.sizes(width), DROPS=dropout.p > 0.0, num_warps=4, num_stages=1,
    )  # fmt: skip
    return out_ND


def attend_back(grad_ND: Tensor, qkv_N3D: Tensor, told: Told, sums: Part) -> Tensor:
    """Gradients of q, k and v side by side; leaves their columns' sums."""
    width, dropout = grad_ND.shape[1], told.dropout
    out_N3D = torch.empty_like(qkv_N3D)
    _kernels().attend_back[(sums.programs, told.heads)](
        grad_ND, qkv_N3D, told.stream.starts, dropout.seed, out_N3D, sums.place,
        sums.columns, told.texts, dropout.place, dropout.threshold, dropout.scale,
        (width // told.heads) ** -0.5,
        **told.sizes(width), DROPS=dropout.p > 0.0,
        num_warps=4, num_stages=1,
    )  # fmt: skip
    return out_N3D


def _groups(tokens: int) -> int:
    return -(-tokens // GROUP)


def _block(width: int) -> int:
    """The next power of two, as Triton wants it."""
    return max(16, 1 << (width - 1).bit_length())


def _warps(block: int) -> int:
    return max(1, min(8, block // PER_WARP))


@cache
def _kernels() -> ModuleType:
    # Not at the top: Triton is not everywhere, and takes its time.
    return import_module("trivium.model.fused.kernels")
