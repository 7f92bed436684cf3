"""One layer as one operation of autograd, with its way back by hand. Shape letters: see
`trivium.types`; I: the inner width.

Forward: qkv product, attention, product, `norm`; inner product, GELU, product, `norm`. On the way
back the gradient that runs through the residual is added by the products that end in it.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from trivium.model.attention import Stream
from trivium.model.fused import flash, launch
from trivium.model.fused.launch import Dropout, Moments, Norm, Normed, Part, Sums, Told
from trivium.model.kernels import full_product

MIXED, OUTER, QKV, INNER = range(4)
"""The four kernels of a layer's way back that leave sums."""


class Attention(Protocol):
    """As `flash` and `short` have it."""

    def forward(self, qkv_N3D: Tensor, told: Told) -> tuple[Tensor, ...]: ...

    def backward(
        self, grad_ND: Tensor, qkv_N3D: Tensor, mixed: Sequence[Tensor], told: Told, sums: Part
    ) -> Tensor: ...


class How(NamedTuple):
    """What a pass is told."""

    heads: int
    eps: float
    """LayerNorm's."""
    p: float
    """Of dropping a number before a residual."""
    attention_p: float
    attention: Attention = flash


class Pass(NamedTuple):
    """What all layers of a pass have in common."""

    how: How
    stream: Stream
    seed: Tensor
    """Of `launch.Dropout`."""

    def dropout(self, layer: int, half: int) -> Dropout:
        """Before a residual."""
        return Dropout(self.how.p, self.seed, 3 * layer + half)

    def told(self, layer: int) -> Told:
        """To attention."""
        dropout = Dropout(self.how.attention_p, self.seed, 3 * layer + 2)
        return Told(self.stream, self.how.heads, dropout)


class Copies(NamedTuple):
    """A layer's products in bf16: weight and bias of each."""

    qkv: tuple[Tensor, Tensor]
    mixed: tuple[Tensor, Tensor]
    inner: tuple[Tensor, Tensor]
    outer: tuple[Tensor, Tensor]


class Parameters(NamedTuple):
    """A layer's parameters, or their gradients, in the order in which autograd gets them."""

    query: Any
    key: Any
    value: Any
    mixed: Any
    inner: Any
    outer: Any
    query_bias: Any
    key_bias: Any
    value_bias: Any
    mixed_bias: Any
    inner_bias: Any
    outer_bias: Any
    mixed_norm: Any
    mixed_norm_bias: Any
    outer_norm: Any
    outer_norm_bias: Any


class Layer(torch.autograd.Function):
    """x_ND -> hidden_ND in bf16. place: which layer; parameters: as `Parameters`, in fp32."""

    @staticmethod
    def forward(
        ctx: Any, x_ND: Tensor, one: Pass, copies: Copies, place: int, *parameters: Tensor
    ) -> Tensor:
        how, by = one.how, Parameters(*parameters)
        qkv_N3D = _product(x_ND, copies.qkv)
        mixed = how.attention.forward(qkv_N3D, one.told(place))
        update_ND = _product(mixed[0], copies.mixed)
        norm = Norm(by.mixed_norm, by.mixed_norm_bias, how.eps)
        middle_ND, moments = launch.norm(update_ND, x_ND, norm, one.dropout(place, 0))
        before_NI = _product(middle_ND, copies.inner)
        inner_NI = F.gelu(before_NI)
        last_ND = _product(inner_NI, copies.outer)
        norm = Norm(by.outer_norm, by.outer_norm_bias, how.eps)
        hidden_ND, last_moments = launch.norm(last_ND, middle_ND, norm, one.dropout(place, 1))
        ctx.one, ctx.place = one, place
        ctx.save_for_backward(
            x_ND, qkv_N3D, update_ND, middle_ND, before_NI, inner_NI, last_ND,
            by.mixed_norm, by.outer_norm, *(weight for weight, _ in copies),
            moments.mean_N, moments.rstd_N, last_moments.mean_N, last_moments.rstd_N, *mixed,
        )  # fmt: skip
        return hidden_ND

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_ND: Tensor) -> tuple[Tensor | None, ...]:
        way = _Back(ctx.one, ctx.place, ctx.saved_tensors, ctx.needs_input_grad)
        back_ND = way.outer_half(grad_ND.contiguous())
        to_x_ND = way.attention_half(back_ND)
        return (to_x_ND, None, None, None, *way.gradients())


class _Back:
    """The way back through a layer."""

    def __init__(
        self, one: Pass, place: int, saved: Sequence[Tensor], wanted: Sequence[bool]
    ) -> None:
        self.one = one
        (
            self.x_ND, self.qkv_N3D, update_ND, self.middle_ND, self.before_NI, self.inner_NI,
            last_ND, mixed_norm, outer_norm, self.qkv, self.mixed_weight, self.inner, self.outer,
            *moments,
        ) = saved[:17]  # fmt: skip
        self.mixed, self.told = saved[17:], one.told(place)
        self.first = Normed(
            update_ND, self.x_ND, mixed_norm, one.dropout(place, 0), Moments(*moments[:2])
        )
        self.last = Normed(
            last_ND, self.middle_ND, outer_norm, one.dropout(place, 1), Moments(*moments[2:])
        )
        self.of_x, self.wanted = wanted[0], Parameters(*wanted[4:])
        tokens, width = self.x_ND.shape
        widths = [3 * width, 3 * width, 3 * width, self.before_NI.shape[1]]
        self.sums = Sums(tokens, widths, self.x_ND.device)
        self.parts = self.sums.parts
        self.weights: dict[str, Tensor] = {}

    def outer_half(self, grad_ND: Tensor) -> Tensor:
        """Through the feed-forward network: the gradient of its input."""
        back_ND, update_ND = launch.norm_back(grad_ND, self.last, self.parts[OUTER])
        self._weigh("outer", update_ND, self.inner_NI)
        inner_NI = update_ND @ self.outer
        before_NI = launch.gelu_back_(inner_NI, self.before_NI, self.parts[INNER])
        self._weigh("inner", before_NI, self.middle_ND)
        return back_ND.addmm_(before_NI, self.inner)

    def attention_half(self, grad_ND: Tensor) -> Tensor | None:
        """Through attention: the gradient of the layer's input."""
        back_ND, update_ND = launch.norm_back(grad_ND, self.first, self.parts[MIXED])
        self._weigh("mixed", update_ND, self.mixed[0])
        mixed_ND = update_ND @ self.mixed_weight
        qkv_N3D = self.one.how.attention.backward(
            mixed_ND, self.qkv_N3D, self.mixed, self.told, self.parts[QKV]
        )
        if any(self.wanted[:3]):
            found = full_product(qkv_N3D.t(), self.x_ND).chunk(3)
            self.weights |= zip(("query", "key", "value"), found, strict=True)
        return back_ND.addmm_(qkv_N3D, self.qkv) if self.of_x else None

    def gradients(self) -> Parameters:
        """Of the parameters; of frozen weights None."""
        mixed, outer, qkv, inner = self.sums.added()
        mixed_norm, mixed_norm_bias, mixed_bias = mixed.chunk(3)
        outer_norm, outer_norm_bias, outer_bias = outer.chunk(3)
        query_bias, key_bias, value_bias = qkv.chunk(3)
        get = self.weights.get
        return Parameters(
            get("query"), get("key"), get("value"), get("mixed"), get("inner"), get("outer"),
            query_bias, key_bias, value_bias, mixed_bias, inner, outer_bias,
            mixed_norm, mixed_norm_bias, outer_norm, outer_norm_bias,
        )  # fmt: skip

    def _weigh(self, name: str, grad_NC: Tensor, x_NC: Tensor) -> None:
        # Of frozen weights no gradient is even computed: it is a third of the work.
        if getattr(self.wanted, name):
            self.weights[name] = full_product(grad_NC.t(), x_NC)


def _product(x: Tensor, copy: tuple[Tensor, Tensor]) -> Tensor:
    weight, bias = copy
    return torch.addmm(bias, x, weight.t())
