"""Bottleneck adapters (Houlsby et al. 2019)."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from trivium.model.encoder import EncoderConfig
from trivium.model.kernels import Linear, linear
from trivium.model.sides import Half, NamedModules, Side
from trivium.parts.adapters.base import SidePart

INITIAL_STD = 0.01
"""Of the weights at first, cut off at two standard deviations, as in the paper."""


class Houlsby(SidePart):
    """A bottleneck in every sublayer, per task: h + W_up gelu(W_down h) (section 2.1).

    h is the sublayer's output after dropout, before residual and LayerNorm. Both matrices have
    biases: layers * 2 * (2 * size * width + size + width) parameters a task. They start near the
    identity. The paper freezes the encoder: for that, `freeze_base: true`. Its LayerNorms, which
    the paper trains per task, stay the encoder's own here.
    """

    kind: Literal["houlsby"] = "houlsby"
    size: int = Field(default=64, gt=0, le=2**16)
    """Width of the bottleneck."""

    def count(self, config: EncoderConfig, tasks: Sequence[str]) -> int:
        width = config.hidden_size
        each = 2 * self.size * width + self.size + width
        return 2 * len(self.layers(config)) * each * len(self.chosen(tasks))

    def build(self, config: EncoderConfig) -> Side:
        side = _Houlsby(config.hidden_size, self.layers(config), self.size)
        if self.zero_start:
            for name, weight in side.named_parameters():
                if name.endswith("up.weight"):
                    nn.init.zeros_(weight)
        return side


class _Houlsby(Side):
    def __init__(self, width: int, layers: range, size: int) -> None:
        super().__init__()
        self.layer = NamedModules(
            {
                str(index): nn.ModuleList(_Bottleneck(width, size) for _ in range(2))
                for index in layers
            }
        )

    def within(self, layer: int, half: Half, update_ND: Tensor) -> Tensor:
        if str(layer) not in self.layer:
            return update_ND
        halves = self.layer[str(layer)]
        assert isinstance(halves, nn.ModuleList)
        changed_ND: Tensor = halves[half](update_ND)
        return changed_ND


class _Bottleneck(nn.Module):
    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.down, self.up = Linear(width, size), Linear(size, width)
        for part in (self.down, self.up):
            edge = 2 * INITIAL_STD
            nn.init.trunc_normal_(part.weight, std=INITIAL_STD, a=-edge, b=edge)
            nn.init.zeros_(part.bias)

    def forward(self, h_ND: Tensor) -> Tensor:
        up_ND: Tensor = self.up(linear(h_ND, (self.down,), gelu=True))
        return h_ND + up_ND
