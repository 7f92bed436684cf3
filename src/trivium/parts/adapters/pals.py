"""Projected attention layers (Stickland & Murray 2019).

Small letters: s the width of a side, d the encoder's.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator
from torch import Tensor, nn

from trivium.errors import RecipeError
from trivium.model.attention import Layout, attention
from trivium.model.encoder import EncoderConfig
from trivium.model.kernels import Linear, linear
from trivium.model.sides import NamedModules, Side
from trivium.parts.adapters.base import SidePart

PER_HEAD = 17
"""A head's width in the paper: 204 for 12 heads, beside BERT-base."""


class PALs(SidePart):
    """A small attention layer beside every layer, per task: y = LN(a + FFN(a) + TS(x)).

    TS(x) = gelu(V_D MHA(V_E x)) of the layer's input x (section 3 of the paper, with the gelu of
    its authors' code); V_E and V_D serve all layers of a task, every layer has its own queries,
    keys and values; no output projection, no biases. 2 s d + layers * 3 s^2 parameters a task.
    """

    kind: Literal["pals"] = "pals"
    size: int | None = Field(default=None, gt=0, le=2**16)
    """s; by default 17 for every head, as the paper's 204 beside BERT-base."""
    heads: int | None = Field(default=None, gt=0)
    """By default 12 in 768 of the encoder's width, at least one."""

    @model_validator(mode="after")
    def _heads_divide_size(self) -> "PALs":
        if self.size is not None and self.heads is not None:
            _check(self.size, self.heads)
        return self

    def shape(self, width: int) -> tuple[int, int]:
        """(size, heads) beside an encoder of such a width."""
        heads = self.heads or max(1, round(12 * width / 768))
        size = self.size or PER_HEAD * heads
        try:
            _check(size, heads)
        except ValueError as error:
            raise RecipeError(f"adapters: pals: {error}") from error
        return size, heads

    def count(self, config: EncoderConfig, tasks: Sequence[str]) -> int:
        size, _ = self.shape(config.hidden_size)
        layers = len(self.layers(config))
        each = 2 * size * config.hidden_size + layers * 3 * size**2
        return each * len(self.chosen(tasks))

    def build(self, config: EncoderConfig) -> Side:
        side = _Pals(config, self.layers(config), *self.shape(config.hidden_size))
        if self.zero_start:
            nn.init.zeros_(side.up.weight)
        return side


def _check(size: int, heads: int) -> None:
    if size % heads:
        low = size // heads * heads
        near = " or ".join(str(n) for n in (low, low + heads) if n)
        raise ValueError(
            f"size {size} is not a multiple of {heads} heads; set size to {near}, or set heads"
        )


class _Pals(Side):
    def __init__(self, config: EncoderConfig, layers: range, size: int, heads: int) -> None:
        super().__init__()
        self.heads, self.dropout = heads, config.attention_probs_dropout_prob
        self.down = Linear(config.hidden_size, size, bias=False)
        self.up = Linear(size, config.hidden_size, bias=False)
        self.layer = NamedModules({str(index): _Projections(size) for index in layers})
        for weight in self.parameters():
            nn.init.normal_(weight, std=config.initializer_range)

    def beside(self, layer: int, x_ND: Tensor, groups: Layout) -> Tensor | None:
        if str(layer) not in self.layer:
            return None
        qkv_N3s: Tensor = self.layer[str(layer)](self.down(x_ND))
        mixed_Ns = attention(qkv_N3s, groups, self.heads, self.dropout if self.training else 0.0)
        return linear(mixed_Ns, (self.up,), gelu=True)


class _Projections(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.query = Linear(size, size, bias=False)
        self.key = Linear(size, size, bias=False)
        self.value = Linear(size, size, bias=False)

    def forward(self, down_Ns: Tensor) -> Tensor:
        return linear(down_Ns, (self.query, self.key, self.value))
