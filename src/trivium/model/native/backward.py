"""The backward pass through a stack of layers. Shape letters: see `trivium.types`."""

from collections.abc import Collection, Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn

from trivium.model.kernels import Linear, lora_of
from trivium.model.lowrank import gradients_of_pair
from trivium.model.native.task import (
    ADD,
    PLAIN,
    TIMES,
    Kept,
    Normed,
    Places,
    Task,
    everywhere,
)
from trivium.model.native.weights import Packed

Grads = dict[int, Tensor]


class Backward:
    """Gradients of those parameters whose ids are wanted, by id: in `grads`, in fp32, for each
    group of `task.shares`, or for all texts as one."""

    def __init__(
        self, task: Task, places: Places, wanted: Collection[int], *, of_input: bool
    ) -> None:
        self.task, self.places, self.wanted, self.of_input = task, places, wanted, of_input
        texts = len(places.lengths_R)
        groups = [texts] if task.shares is None else list(task.shares.texts)
        self.grads: list[Grads] = [{} for _ in groups]
        lengths_R = places.lengths_R
        tokens = [int(each.sum()) for each in torch.split(lengths_R, groups)]
        # Of first tokens alone there is one row for a text; where all are first, that is the same.
        self._rows = {sum(tokens): _slices(tokens), texts: _slices(groups)}

    def run(self, grad_ND: Tensor, kept: list[Kept]) -> Tensor | None:
        """Of the layers' input, in fp32, if it is wanted. `kept` is emptied on the way."""
        dy_ND = grad_ND.float().contiguous()
        if dy_ND.data_ptr() == grad_ND.data_ptr():
            dy_ND = dy_ND.clone()  # what autograd hands over may be somebody else's
        lowest, last = self._lowest(kept), len(kept) - 1
        while kept:
            layer = kept.pop()
            first_only = self.task.first_only and len(kept) == last
            goes_on = self.of_input or len(kept) > lowest
            dy_ND = self._layer(layer, dy_ND, first_only=first_only, goes_on=goes_on)
            if not goes_on:
                kept.clear()
                return None
        return dy_ND

    def _lowest(self, kept: list[Kept]) -> int:
        """The first layer that learns anything."""
        for index, layer in enumerate(kept):
            if any(id(p) in self.wanted for p in layer.modules.parameters()):
                return index
        return len(kept)

    def _layer(self, kept: Kept, dy_ND: Tensor, *, first_only: bool, goes_on: bool) -> Tensor:
        """dy of the layer's output to that of its input; dy_ND is overwritten."""
        modules, weights, starts_R = kept.modules, kept.weights, self.places.starts_R
        tokens = len(dy_ND)
        if first_only:
            dy_ND = dy_ND[starts_R]
        dproduct_ND = self._norm(modules.outer_norm, kept.second, dy_ND)
        self._linear((modules.outer,), dproduct_ND, kept.inner_NI)
        dinner_NI = self._product(TIMES, dproduct_ND, weights.outer, kept.slope_NI)
        self._linear((modules.inner,), dinner_NI, kept.y_ND)
        self._add_product(dinner_NI, weights.inner, dy_ND)
        dproduct_ND = self._norm(modules.mixed_norm, kept.first, dy_ND)
        self._linear((modules.mixed,), dproduct_ND, kept.mixed_ND)
        dmixed_ND = self._product(PLAIN, dproduct_ND, weights.mixed)
        if first_only:
            dmixed_ND = everywhere(dmixed_ND, starts_R, tokens)
            dy_ND = everywhere(dy_ND, starts_R, tokens)
        dqkv_N3D = self._attention(kept, dmixed_ND)
        self._linear(modules.qkv, dqkv_N3D, kept.x_ND)
        if goes_on:
            self._add_product(dqkv_N3D, weights.qkv, dy_ND)
        return dy_ND

    # --- its operations -------------------------------------------------------------------------

    def _norm(self, norm: nn.LayerNorm, normed: Normed, dy_ND: Tensor) -> Tensor:
        """Through LayerNorm and dropout: the product's gradient; dy_ND becomes that of the
        residual."""
        rows, width = dy_ND.shape
        dproduct_ND = torch.empty(rows, width, dtype=self.task.numbers)
        assert normed.before_ND is not None
        assert normed.stats_N2 is not None
        for grads, own in zip(self.grads, self._rows[rows], strict=True):
            several = own.stop - own.start
            room = torch.empty(-(-several // 32), 2, width)
            dgamma, dbeta = torch.empty(width), torch.empty(width)
            self.task.library.norm_back(
                dy_ND[own], normed.before_ND[own], normed.stats_N2[own], norm.weight,
                None if normed.mask is None else normed.mask[own], self.task.hidden_dropout,
                several, width, room, dy_ND[own], dproduct_ND[own], dgamma, dbeta,
            )  # fmt: skip
            self._keep(grads, (norm.weight, dgamma), (norm.bias, dbeta))
        return dproduct_ND

    def _product(
        self, then: int, g_NO: Tensor, weight: Packed, other: Tensor | None = None
    ) -> Tensor:
        out = torch.empty(len(g_NO), weight.inputs, dtype=self.task.numbers)
        self.task.library.product(
            then, g_NO, len(g_NO), weight.outputs, weight.back, weight.inputs, None,
            out, other, None,
        )  # fmt: skip
        return out

    def _add_product(self, g_NO: Tensor, weight: Packed, sum_NK: Tensor) -> None:
        self.task.library.product(
            ADD, g_NO, len(g_NO), weight.outputs, weight.back, weight.inputs, None, None,
            None, sum_NK,
        )  # fmt: skip

    def _attention(self, kept: Kept, dmixed_ND: Tensor) -> Tensor:
        task, places = self.task, self.places
        dqkv_N3D = torch.empty_like(kept.qkv_N3D)
        task.library.attention_back(
            dmixed_ND, kept.qkv_N3D, places.starts_R, places.lengths_R,
            places.rows_R, len(places.lengths_R), task.heads,
            dmixed_ND.shape[1] // task.heads, task.attention_dropout, kept.attention,
            kept.attention_mask, dqkv_N3D,
        )  # fmt: skip
        return dqkv_N3D

    def _linear(self, parts: tuple[Linear, ...], g_NO: Tensor, x_NK: Tensor) -> None:
        """The gradients of layers that are one product. Of frozen weights none is computed."""
        weighs = any(id(part.weight) in self.wanted for part in parts)
        learns = weighs or any(id(part.bias) in self.wanted for part in parts)
        for grads, own in zip(self.grads, self._rows[len(g_NO)], strict=True):
            if learns:
                self._weights(grads, parts, g_NO[own], x_NK[own], weighs=weighs)
            first = 0
            for part in parts:
                if (pair := lora_of(part)) is not None:
                    g_NC = g_NO[own, first : first + part.out_features]
                    da, db = gradients_of_pair(pair, g_NC, x_NK[own])
                    self._keep(grads, (pair.a, da), (pair.b, db))
                first += part.out_features

    def _weights(
        self, grads: Grads, parts: tuple[Linear, ...], g_NO: Tensor, x_NK: Tensor, *, weighs: bool
    ) -> None:
        (rows, outputs), inputs = g_NO.shape, x_NK.shape[1]
        dW = torch.empty(outputs, inputs) if weighs else None
        db = torch.empty(outputs)
        words = self.task.library.gradient_room(rows, outputs, inputs) if weighs else 0
        room = torch.empty(words, dtype=torch.int32)
        self.task.library.weight_gradient(g_NO, x_NK, rows, outputs, inputs, room, dW, db)
        sizes = [part.out_features for part in parts]
        for part, rows_of_bias in zip(parts, torch.split(db, sizes), strict=True):
            self._keep(grads, (part.bias, rows_of_bias))
        for part, rows_of in zip(
            parts, torch.split(dW, sizes) if dW is not None else (), strict=False
        ):
            self._keep(grads, (part.weight, rows_of))

    def _keep(self, grads: Grads, *found: tuple[Tensor, Tensor]) -> None:
        for parameter, grad in found:
            if id(parameter) in self.wanted:
                grads[id(parameter)] = grad


def _slices(sizes: Sequence[int]) -> list[slice]:
    """Parts one after another."""
    return [slice(end - size, end) for size, end in zip(sizes, accumulate(sizes), strict=True)]
