"""Hidden layers between the vectors and the output; heads that name a trunk share them."""

from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from trivium.model.kernels import dropout
from trivium.model.multitask import Head
from trivium.parts.heads.base import (
    TRUNK_NAME,
    Features,
    Pooled,
    PooledPart,
    feature_width,
    join,
    linear_layer,
)


class MLPHead(PooledPart):
    """`depth` hidden layers with GELU, then a linear layer; dropout before each of them."""

    kind: Literal["mlp"] = "mlp"
    depth: int = Field(default=1, ge=1, le=100)
    """Hidden layers."""
    width: int | None = Field(default=None, ge=1, le=2**16)
    """Of a hidden layer; by default the encoder's."""
    features: Features = "uv_diff_product"
    """Of a separately encoded pair."""
    trunk: str | None = Field(default=None, pattern=TRUNK_NAME)
    """Heads of several tasks that name the same trunk share their hidden layers, and so must have
    them alike; each keeps its own output layer."""

    @property
    def texts(self) -> tuple[int, ...]:
        return (1, 2)

    @property
    def shared_trunk(self) -> str | None:
        return self.trunk

    def build(self, width: int, outputs: int, texts: int) -> Head:
        hidden = None if self.trunk else self.build_trunk(width, texts)
        output = linear_layer(self.width or width, outputs)
        return _MLPModule(self, hidden, output)

    def build_trunk(self, width: int, texts: int) -> "HiddenLayers":
        """Its hidden layers."""
        inputs = feature_width(width, texts, self.features)
        return HiddenLayers(inputs, self.width or width, self.depth)

    def trunk_shape(self, texts: int) -> dict[str, str]:
        vectors = feature_width(1, texts, self.features)
        what = "one sequence" if texts == 1 else f"a pair's {self.features}"
        return {
            "`depth`": str(self.depth),
            "`width`": "the encoder's" if self.width is None else str(self.width),
            "input": f"{vectors} × the encoder's width ({what})",
        }


class HiddenLayers(nn.Module):
    """Linear layers with GELU (or nothing) after each, dropout before: x_BF -> hidden_BC."""

    def __init__(self, inputs: int, width: int, depth: int, *, gelu: bool = True) -> None:
        super().__init__()
        self.gelu = gelu
        sizes = [inputs] + [width] * depth
        self.layers = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(sizes))
        for layer in self.layers:
            assert isinstance(layer, nn.Linear)
            # Keeps the size of what goes through, at any width (He et al. 2015, equation 10).
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu" if gelu else "linear")
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, drop: float) -> Tensor:
        for layer in self.layers:
            x = layer(dropout(x, drop, training=self.training))
            x = F.gelu(x) if self.gelu else x
        return x


class _MLPModule(Pooled):
    can_be_recorded = True

    def __init__(self, part: MLPHead, hidden: HiddenLayers | None, linear: nn.Linear) -> None:
        super().__init__(part.pooling)
        self.dropout, self.features, self.trunk = part.dropout, part.features, part.trunk
        self.hidden, self.linear = hidden, linear

    def stack(self, trunk: nn.Module | None = None) -> list[tuple[nn.Linear, bool]] | None:
        hidden = trunk if self.trunk else self.hidden
        assert isinstance(hidden, HiddenLayers), "the model hands over the trunk that a head names"
        each = [layer for layer in hidden.layers if isinstance(layer, nn.Linear)]
        return [*((layer, True) for layer in each), (self.linear, False)]

    def decide(self, vector_BSC: Tensor, trunk: nn.Module | None = None) -> Tensor:
        layers = trunk if self.trunk else self.hidden
        assert layers is not None, "the model hands over the trunk that a head names"
        hidden_BC = layers(join(vector_BSC, self.features), self.dropout)
        output_BK: Tensor = self.linear(dropout(hidden_BC, self.dropout, training=self.training))
        return output_BK
