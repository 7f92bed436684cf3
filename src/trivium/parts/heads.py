"""Heads: from a text's vectors to a task's outputs. To add one: a class, a line in `AnyHead`."""

from abc import abstractmethod
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from trivium.model.encoder import Encoder
from trivium.model.kernels import dropout
from trivium.model.multitask import Head, Pooling, pool
from trivium.part import Part
from trivium.types import Tokens


class HeadPart(Part):
    """What every head can choose."""

    pooling: Pooling = "mean"
    """One vector per text: the [CLS] token, BERT's pooler, or mean or max over the tokens."""
    dropout: float = Field(default=0.1, ge=0, lt=1)

    @property
    @abstractmethod
    def texts(self) -> tuple[int, ...]:
        """Numbers of encoded texts per row that the head can take."""

    @property
    def outputs(self) -> int | None:
        """Number of outputs if the head fixes it."""
        return None

    @abstractmethod
    def build(self, width: int, outputs: int) -> Head:
        """The module, for an encoder of that width."""


class LinearHead(HeadPart):
    """Dropout and one linear layer on the pooled text (or jointly encoded pair)."""

    kind: Literal["linear"] = "linear"

    @property
    def texts(self) -> tuple[int, ...]:
        return (1,)

    def build(self, width: int, outputs: int) -> Head:
        return _LinearModule(self.pooling, self.dropout, width, outputs, "u")


class ConcatHead(HeadPart):
    """Dropout and one linear layer on features of a separately encoded pair.

    `uv` is [u; v] (Reimers & Gurevych 2019 call it the concatenation of both); `uv_diff_product`
    is [u; v; |u-v|; u*v], which sees agreement directly (their section 3, and InferSent).
    """

    kind: Literal["concat"] = "concat"
    features: Literal["uv", "uv_diff_product"] = "uv_diff_product"

    @property
    def texts(self) -> tuple[int, ...]:
        return (2,)

    def build(self, width: int, outputs: int) -> Head:
        return _LinearModule(self.pooling, self.dropout, width, outputs, self.features)


class CosineHead(HeadPart):
    """a * cos(u, v) + b on the unit scale, with a and b learned (they start at 1 and 0)."""

    kind: Literal["cosine"] = "cosine"
    dropout: float = Field(default=0.0, ge=0, lt=1)

    @property
    def texts(self) -> tuple[int, ...]:
        return (2,)

    @property
    def outputs(self) -> int | None:
        return 1

    def build(self, width: int, outputs: int) -> Head:
        return _CosineModule(self.pooling, self.dropout, squash=False)


class SigmoidCosineHead(CosineHead):
    """sigmoid(cos(u, v)) on the unit scale: reaches 0.27 to 0.73 only; kept for comparison."""

    kind: Literal["sigmoid_cosine"] = "sigmoid_cosine"  # type: ignore[assignment]

    def build(self, width: int, outputs: int) -> Head:
        return _CosineModule(self.pooling, self.dropout, squash=True)


AnyHead = Annotated[
    LinearHead | ConcatHead | CosineHead | SigmoidCosineHead, Field(discriminator="kind")
]


class _Pooled(Head):
    """A head that starts from one pooled vector per text."""

    def __init__(self, pooling: Pooling, drop: float) -> None:
        super().__init__()
        self.pooling: Pooling = pooling
        self.dropout = drop

    def represent(self, hidden_ND: Tensor, tokens: Tokens, encoder: Encoder) -> Tensor:
        return pool(hidden_ND, tokens, encoder, self.pooling)


class _LinearModule(_Pooled):
    def __init__(
        self, pooling: Pooling, drop: float, width: int, outputs: int, features: str
    ) -> None:
        super().__init__(pooling, drop)
        self.features = features
        inputs = {"u": 1, "uv": 2, "uv_diff_product": 4}[features] * width
        self.linear = nn.Linear(inputs, outputs)
        nn.init.normal_(self.linear.weight, std=0.02)
        nn.init.zeros_(self.linear.bias)

    def decide(self, vector_BSC: Tensor) -> Tensor:
        if self.features == "uv_diff_product":
            u_BC, v_BC = vector_BSC.unbind(1)
            features_BF = torch.cat([u_BC, v_BC, (u_BC - v_BC).abs(), u_BC * v_BC], dim=1)
        else:
            features_BF = vector_BSC.flatten(1)
        features_BF = dropout(features_BF, self.dropout, training=self.training)
        output_BK: Tensor = self.linear(features_BF)
        return output_BK


class _CosineModule(_Pooled):
    def __init__(self, pooling: Pooling, drop: float, *, squash: bool) -> None:
        super().__init__(pooling, drop)
        self.squash = squash
        if not squash:
            self.scale = nn.Parameter(torch.ones(()))
            self.offset = nn.Parameter(torch.zeros(()))

    def decide(self, vector_BSC: Tensor) -> Tensor:
        vector_BSC = dropout(vector_BSC, self.dropout, training=self.training)
        u_BC, v_BC = vector_BSC.unbind(1)
        cosine_B = F.cosine_similarity(u_BC, v_BC)
        unit_B = torch.sigmoid(cosine_B) if self.squash else self.scale * cosine_B + self.offset
        return unit_B[:, None]
