"""A text's own vector, of length 1, for tasks that compare texts; it stands in no union."""

from typing import Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from trivium.model.multitask import Head
from trivium.parts.heads.base import Pooled, PooledPart


class VectorsHead(PooledPart):
    """The pooled vector over its length. It has no parameters; `pooling: pooler` puts BERT's tanh
    layer in between, as SimCSE (Gao et al. 2021, section 6.1) has one while it is trained."""

    kind: Literal["vectors"] = "vectors"
    dropout: Literal[0] = Field(default=0)
    """None but the encoder's."""

    @property
    def texts(self) -> tuple[int, ...]:
        return (1, 2)

    def build(self, width: int, outputs: int, texts: int) -> Head:
        return _Vectors(self.pooling)


class _Vectors(Pooled):
    can_be_recorded = True

    def decide(self, vector_BSC: Tensor, trunk: nn.Module | None = None) -> Tensor:
        """The S vectors of each row side by side, each of length 1: output_BK."""
        return F.normalize(vector_BSC, dim=2).flatten(1)
