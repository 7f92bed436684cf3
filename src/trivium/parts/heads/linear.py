"""Dropout and one linear layer: on one text's vector, or on the features of a pair."""

from typing import Literal

from torch import Tensor, nn

from trivium.model.kernels import dropout
from trivium.model.multitask import Head, Pooling
from trivium.parts.heads.base import (
    Features,
    Pooled,
    PooledPart,
    Start,
    feature_width,
    join,
    linear_layer,
)


class _OneLayer(PooledPart):
    start: Start = "random"
    """probe: fitted to the training rows before the first step, with the encoder as it is."""

    @property
    def can_start_from_probe(self) -> bool:
        return True

    @property
    def starts_from_probe(self) -> bool:
        return self.start == "probe"


class LinearHead(_OneLayer):
    """Dropout and one linear layer on the pooled text (or jointly encoded pair)."""

    kind: Literal["linear"] = "linear"

    @property
    def texts(self) -> tuple[int, ...]:
        return (1,)

    def build(self, width: int, outputs: int, texts: int) -> Head:
        return _LinearModule(self.pooling, self.dropout, width, outputs, "uv")


class ConcatHead(_OneLayer):
    """Dropout and one linear layer on features of a separately encoded pair."""

    kind: Literal["concat"] = "concat"
    features: Features = "uv_diff_product"

    @property
    def texts(self) -> tuple[int, ...]:
        return (2,)

    @property
    def pair_features(self) -> Features:
        return self.features

    def build(self, width: int, outputs: int, texts: int) -> Head:
        inputs = feature_width(width, texts, self.features)
        return _LinearModule(self.pooling, self.dropout, inputs, outputs, self.features)


def one_layer() -> PooledPart:
    """Nothing but a linear layer, on vectors as they are: a probe."""
    return LinearHead(dropout=0.0)


class _LinearModule(Pooled):
    can_be_recorded = True

    def __init__(
        self, pooling: Pooling, drop: float, inputs: int, outputs: int, features: Features
    ) -> None:
        super().__init__(pooling)
        self.dropout, self.features = drop, features
        self.linear = linear_layer(inputs, outputs)

    def stack(self, trunk: nn.Module | None = None) -> list[tuple[nn.Linear, bool]] | None:
        return [(self.linear, False)]

    def decide(self, vector_BSC: Tensor, trunk: nn.Module | None = None) -> Tensor:
        feature_BF = join(vector_BSC, self.features)
        feature_BF = dropout(feature_BF, self.dropout, training=self.training)
        output_BK: Tensor = self.linear(feature_BF)
        return output_BK
