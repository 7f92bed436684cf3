"""The cosine of a pair's two vectors."""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from trivium.model.kernels import dropout
from trivium.model.multitask import Cosine, Head, Pooling
from trivium.parts.heads.base import Pooled, PooledPart


class CosineHead(PooledPart):
    """a * cos(u, v) + b on the unit scale, with a and b learned (they start at 1 and 0)."""

    kind: Literal["cosine"] = "cosine"
    dropout: float = Field(default=0.0, ge=0, lt=1)

    @property
    def texts(self) -> tuple[int, ...]:
        return (2,)

    @property
    def outputs(self) -> int | None:
        return 1

    def build(self, width: int, outputs: int, texts: int) -> Head:
        return _CosineModule(self.pooling, self.dropout, squash=False)


class SigmoidCosineHead(CosineHead):
    """sigmoid(cos(u, v)) on the unit scale: reaches 0.27 to 0.73 only; kept for comparison."""

    kind: Literal["sigmoid_cosine"] = "sigmoid_cosine"  # type: ignore[assignment]

    def build(self, width: int, outputs: int, texts: int) -> Head:
        return _CosineModule(self.pooling, self.dropout, squash=True)


class _CosineModule(Pooled):
    def __init__(self, pooling: Pooling, drop: float, *, squash: bool) -> None:
        super().__init__(pooling)
        self.dropout, self.squash = drop, squash
        if not squash:
            self.scale = nn.Parameter(torch.ones(()))
            self.offset = nn.Parameter(torch.zeros(()))

    def of_cosine(self) -> Cosine | None:
        if self.squash:
            return Cosine(1.0, 0.0, sigmoid=True)
        return Cosine(self.scale.item(), self.offset.item(), sigmoid=False)

    def decide(self, vector_BSC: Tensor, trunk: nn.Module | None = None) -> Tensor:
        vector_BSC = dropout(vector_BSC, self.dropout, training=self.training)
        u_BC, v_BC = vector_BSC.unbind(1)
        cosine_B = F.cosine_similarity(u_BC, v_BC)
        unit_B = torch.sigmoid(cosine_B) if self.squash else self.scale * cosine_B + self.offset
        return unit_B[:, None]
