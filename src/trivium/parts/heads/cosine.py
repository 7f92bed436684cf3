"""The cosine of a pair's two vectors."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from trivium.model.kernels import dropout
from trivium.model.multitask import Cosine, Head, Pooling
from trivium.parts.heads.base import Pooled, PooledPart


class CosineHead(PooledPart):
    """a * cos(u, v) + b on the unit scale."""

    kind: Literal["cosine"] = "cosine"
    map: Literal["learned", "fixed"] = "learned"
    """learned: a and b are, from 1 and 0 on. fixed: (cos(u, v) + 1) / 2, which takes the cosine's
    whole range to the score's and has nothing to learn."""
    dropout: float = Field(default=0.0, ge=0, lt=1)

    @property
    def texts(self) -> tuple[int, ...]:
        return (2,)

    @property
    def outputs(self) -> int | None:
        return 1

    def build(self, width: int, outputs: int, texts: int) -> Head:
        return _CosineModule(self.pooling, self.dropout, self._fixed)

    @property
    def _fixed(self) -> Cosine | None:
        return Cosine(0.5, 0.5, sigmoid=False) if self.map == "fixed" else None

    def of_cosine(self, learned: Callable[[str], float | None]) -> Cosine | None:
        scale, offset = learned("scale"), learned("offset")
        if self._fixed or scale is None or offset is None:
            return self._fixed
        return Cosine(scale, offset, sigmoid=False)


class SigmoidCosineHead(PooledPart):
    """sigmoid(cos(u, v)) on the unit scale: reaches 0.27 to 0.73 only; kept for comparison."""

    kind: Literal["sigmoid_cosine"] = "sigmoid_cosine"
    dropout: float = Field(default=0.0, ge=0, lt=1)

    @property
    def texts(self) -> tuple[int, ...]:
        return (2,)

    @property
    def outputs(self) -> int | None:
        return 1

    def build(self, width: int, outputs: int, texts: int) -> Head:
        return _CosineModule(self.pooling, self.dropout, Cosine(1.0, 0.0, sigmoid=True))

    def of_cosine(self, learned: Callable[[str], float | None]) -> Cosine | None:
        return Cosine(1.0, 0.0, sigmoid=True)


class _CosineModule(Pooled):
    """fixed: what it makes of a cosine; None where that is learned."""

    can_be_recorded = True

    def __init__(self, pooling: Pooling, drop: float, fixed: Cosine | None) -> None:
        super().__init__(pooling)
        self.dropout, self.fixed = drop, fixed
        if fixed is None:
            self.scale = nn.Parameter(torch.ones(()))
            self.offset = nn.Parameter(torch.zeros(()))

    def of_cosine(self) -> Cosine | None:
        return self.fixed or Cosine(self.scale.item(), self.offset.item(), sigmoid=False)

    def decide(self, vector_BSC: Tensor, trunk: nn.Module | None = None) -> Tensor:
        vector_BSC = dropout(vector_BSC, self.dropout, training=self.training)
        u_BC, v_BC = vector_BSC.unbind(1)
        cosine_B = F.cosine_similarity(u_BC, v_BC)
        if self.fixed is None:
            unit_B = self.scale * cosine_B + self.offset
        else:
            unit_B = self.fixed.scale * cosine_B + self.fixed.offset
            unit_B = torch.sigmoid(unit_B) if self.fixed.sigmoid else unit_B
        return unit_B[:, None]
