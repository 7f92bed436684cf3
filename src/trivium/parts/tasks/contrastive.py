"""What tasks share that have no answers, and bring vectors of texts together and apart."""

import hashlib
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from trivium.parts.heads import HeadPart
from trivium.parts.heads.vectors import VectorsHead
from trivium.parts.losses import MNRL, AnyLoss, LossPart, PairLoss
from trivium.parts.tasks.base import Task
from trivium.types import Example, Target


class Contrastive(Task):
    """A task whose outputs are its texts' vectors, side by side, each of length 1; and whose
    targets are numbers of these texts."""

    head: VectorsHead | None = None  # type: ignore[assignment]

    losses: ClassVar[type[LossPart]] = PairLoss

    @property
    def outputs(self) -> int:
        return 0  # as many as the encoder is wide, of each text

    def outputs_beside(self, width: int) -> int:
        return self.row_texts * width

    @property
    def encodes_apart(self) -> bool:
        return True

    def default_head(self) -> HeadPart:
        return VectorsHead()

    def default_loss(self) -> AnyLoss:
        return MNRL()

    def targets(self, values: Sequence[Target]) -> Tensor:
        """text_BS of texts' numbers; of scores target_B."""
        whole = all(isinstance(value, tuple) for value in values)
        return torch.tensor(values, dtype=torch.int64 if whole else torch.float32)

    def compute_loss(self, output_BK: Tensor, target_B: Tensor) -> Tensor:
        loss = self.resolved_loss
        assert isinstance(loss, PairLoss), "validation refuses others"
        return loss.pairs(_apart(output_BK, target_B.shape[1]), target_B)

    def divergence(self, output_BK: Tensor, other_BK: Tensor) -> Tensor:
        """Squared distance of a text's two vectors, mean over texts."""
        each = F.mse_loss(output_BK.float(), other_BK.float(), reduction="sum")
        # Every text's vector has length 1, so that their squares count the texts.
        return each / other_BK.detach().square().sum().clamp_min(1.0)

    def readout(self, output_BK: Tensor) -> Tensor:
        """The vectors, as they are."""
        return output_BK


def numbered(texts: Sequence[str], line: int) -> Example:
    """A row of these texts; the same text, but for surrounding space, has the same number."""
    return Example(tuple(texts), tuple(map(_number, texts)), line)


def _number(text: str) -> int:
    digest = hashlib.sha256(text.strip().encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8]) >> 1  # 63 bits, as of an int64


def _apart(output_BK: Tensor, texts: int) -> Tensor:
    """output_BK -> unit_BSC."""
    return output_BK.view(len(output_BK), texts, output_BK.shape[1] // texts)
