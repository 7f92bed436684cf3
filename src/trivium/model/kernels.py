"""The few operations that decide how fast training is. Shape letters: see `trivium.types`.

Every function here equals plain PyTorch up to rounding (tests compare them); each exists because
it was measured faster on CPUs (`docs/log.md`). The rest of the code never asks about hardware.
"""

import math
from collections.abc import Callable, Sequence
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
    first = parts[0].weight
    rows = [len(part.weight) for part in parts]
    weight = first.new_empty(sum(rows), first.shape[1], dtype=dtype)
    for place, part in zip(torch.split(weight, rows), parts, strict=True):
        place.copy_(part.weight)
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
