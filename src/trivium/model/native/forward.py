"""The forward pass through a stack of layers. Shape letters: see `trivium.types`."""

import torch
from torch import Tensor, nn

from trivium.model.native.task import (
    BIAS,
    GELU,
    GELU_SLOPE,
    Kept,
    Normed,
    Places,
    Task,
    everywhere,
)
from trivium.model.native.weights import Packed


def predict(task: Task, x_ND: Tensor) -> Tensor:
    """The pass where nothing is learned and nothing dropped: in one call."""
    stack, part = task.stack, task.part
    (tokens, width), texts = x_ND.shape, len(task.lengths_R)
    inner = stack.layers[0].inner.out_features
    hidden_ND = x_ND.to(task.numbers, copy=True).contiguous()
    lengths_R = task.lengths_R.contiguous()
    starts_R = lengths_R.cumsum(0) - lengths_R
    room = torch.empty(tokens * (4 * width + inner), dtype=task.numbers)
    sums = torch.empty(tokens * stack.weights[0].outer.room)
    task.library.encode(
        stack.pointers[part.start : part.stop], len(part), hidden_ND, tokens, width, inner,
        task.heads, starts_R, lengths_R, torch.zeros_like(starts_R), texts, task.eps,
        task.first_only, room, sums,
    )  # fmt: skip
    return everywhere(hidden_ND[:texts], starts_R, tokens) if task.first_only else hidden_ND


class Forward:
    """The forward pass; what it leaves for the other, of the layers that this one comes to, is in
    `kept`."""

    def __init__(self, task: Task) -> None:
        self.task, self.places = task, Places.of(task.lengths_R)
        self.kept: list[Kept] = []
        drops = bool(task.hidden_dropout or task.attention_dropout)
        count = 3 * len(task.part)
        # From torch's own generator: whoever sets it back sees the same masks again.
        seeds = torch.empty(count, dtype=torch.int64).random_(-(2**63), None) if drops else None
        self._seeds = [0] * count if seeds is None else [s % 2**64 for s in seeds.tolist()]

    def run(self, x_ND: Tensor) -> Tensor:
        """The layers' output."""
        hidden_ND = x_ND.to(self.task.numbers).contiguous()
        for index in self.task.part:
            hidden_ND = self._layer(index, hidden_ND)
        if self.task.first_only:
            hidden_ND = everywhere(hidden_ND, self.places.starts_R, len(x_ND))
        return hidden_ND

    def _layer(self, index: int, x_ND: Tensor) -> Tensor:
        task, modules = self.task, self.task.stack.layers[index]
        weights = task.stack.weights[index]
        place, learns = index - task.part.start, index >= task.learns_from
        seeds = self._seeds[3 * place : 3 * place + 3]
        qkv_N3D = self._product(BIAS, x_ND, weights.qkv)
        attention, mask, mixed_ND = self._attention(qkv_N3D, seeds[0], learns=learns)
        residual_ND = x_ND
        if task.first_only and index == task.part[-1]:
            starts_R = self.places.starts_R
            mixed_ND, residual_ND = mixed_ND[starts_R], x_ND[starts_R]
        y_ND, first = self._normed(
            mixed_ND, weights.mixed, residual_ND, modules.mixed_norm, seeds[1], learns=learns
        )
        slope_NI = self._empty(len(mixed_ND), weights.inner.outputs) if learns else None
        how = GELU_SLOPE if learns else GELU
        inner_NI = self._product(how, y_ND, weights.inner, slope_NI)
        out_ND, second = self._normed(
            inner_NI, weights.outer, y_ND, modules.outer_norm, seeds[2], learns=learns
        )
        if learns:
            assert attention is not None
            assert slope_NI is not None
            self.kept.append(
                Kept(
                    modules, weights, x_ND, qkv_N3D, attention, mask, mixed_ND, first, y_ND,
                    inner_NI, slope_NI, second,
                )
            )  # fmt: skip
        return out_ND

    def _product(
        self, then: int, x_NK: Tensor, weight: Packed, other: Tensor | None = None
    ) -> Tensor:
        out = self._empty(len(x_NK), weight.outputs)
        self.task.library.product(
            then, x_NK, len(x_NK), weight.inputs, weight.ahead, weight.outputs,
            weight.bias, out, other, None,
        )  # fmt: skip
        return out

    def _attention(
        self, qkv_N3D: Tensor, seed: int, *, learns: bool
    ) -> tuple[Tensor | None, Tensor | None, Tensor]:
        task, places, p = self.task, self.places, self.task.attention_dropout
        width = qkv_N3D.shape[1] // 3
        rows = places.rows * task.heads
        weights = self._empty(16 * rows) if learns else None
        mask = torch.empty(rows, dtype=torch.int16) if learns and p else None
        mixed_ND = self._empty(len(qkv_N3D), width)
        task.library.attention(
            qkv_N3D, places.starts_R, places.lengths_R, places.rows_R,
            len(places.lengths_R), task.heads, width // task.heads, p, seed, weights, mask,
            mixed_ND,
        )  # fmt: skip
        return weights, mask, mixed_ND

    def _normed(
        self,
        x_NK: Tensor,
        weight: Packed,
        residual_ND: Tensor,
        norm: nn.LayerNorm,
        seed: int,
        *,
        learns: bool,
    ) -> tuple[Tensor, Normed]:
        rows, width, p = len(x_NK), weight.outputs, self.task.hidden_dropout
        before = self._empty(rows, width) if learns else None
        mask = torch.empty(rows, width // 32, dtype=torch.int32) if learns and p else None
        stats = torch.empty(rows, 2) if learns else None
        y_ND = self._empty(rows, width)
        room = torch.empty(rows, weight.room)
        self.task.library.product_norm(
            x_NK, rows, weight.inputs, weight.ahead, width, weight.bias,
            residual_ND, p, seed, norm.weight, norm.bias, self.task.eps, room,
            before, mask, stats, y_ND,
        )  # fmt: skip
        return y_ND, Normed(before, mask, stats)

    def _empty(self, *shape: int) -> Tensor:
        return torch.empty(shape, dtype=self.task.numbers)
