"""A score within a range, for a text or a pair."""

import re
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor

from trivium.answering.says import AnySays, Score
from trivium.parts import metrics
from trivium.parts.heads import AnyHead, CosineHead, LinearHead
from trivium.parts.losses import AnyLoss, LossPart, MeanSquaredError, ScoreLoss
from trivium.parts.tasks.base import Task
from trivium.parts.tasks.rows import RowError
from trivium.types import Answer, Target


class Regression(Task):
    """Mean squared error on the score scaled to 0…1; judged by Pearson's r, with Spearman's.

    Readouts may leave the range. Correlations are of readouts, and only answers are clipped: what
    lies beyond an end has an order of its own, which clipping would hide.
    """

    kind: Literal["regression"] = "regression"
    range: tuple[float, float] = Field(default=(0.0, 1.0))
    """Lowest and highest score. Answers are clipped to it."""

    losses: ClassVar[type[LossPart]] = ScoreLoss
    judged_by: ClassVar[tuple[str, ...]] = ("pearson", "spearman")
    problem_type: ClassVar[str] = "regression"

    @field_validator("range")
    @classmethod
    def _rises(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] >= value[1]:
            raise ValueError(f"must be two numbers, the lower one first, found {list(value)}")
        return value

    @property
    def outputs(self) -> int:
        return 1

    @property
    def scale(self) -> tuple[float, float]:
        return self.range

    def default_head(self) -> AnyHead:
        return CosineHead() if self.sequences == 2 else LinearHead()

    def default_loss(self) -> AnyLoss:
        return MeanSquaredError()

    def target(self, cell: str) -> float:
        low, high = self.range
        try:
            score = float(cell.replace("_", "?"))  # Python would read 1_0 as 10
        except ValueError:
            raise RowError(
                f"column {self.label!r} holds {cell!r}, which is not a number{_comma(cell)}. "
                "Fix the row, or set `bad_rows: skip`"
            ) from None
        if not low <= score <= high:
            raise RowError(
                f"column {self.label!r} holds {cell!r}, outside its range [{low:g}, {high:g}]. "
                "Widen `range`, fix the row, or set `bad_rows: skip`"
            )
        return score

    def targets(self, values: Sequence[Target]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32)

    def compute_loss(self, output_BK: Tensor, target_B: Tensor) -> Tensor:
        low, high = self.range
        loss = self.resolved_loss
        assert isinstance(loss, ScoreLoss), "validation refuses others"
        return loss.score(output_BK.squeeze(1), (target_B - low) / (high - low))

    def divergence(self, output_BK: Tensor, other_BK: Tensor) -> Tensor:
        return F.mse_loss(output_BK.float(), other_BK.float())

    def imitation(self, output_BK: Tensor, teacher_BK: Tensor, temperature: float) -> Tensor:
        low, high = self.range
        return F.mse_loss(output_BK.float(), (teacher_BK.clamp(low, high) - low) / (high - low))

    def settled(self, readout_BK: Tensor) -> Tensor:
        return readout_BK.squeeze(1).clamp(*self.range)

    def readout(self, output_BK: Tensor) -> Tensor:
        low, high = self.range
        return low + (high - low) * output_BK

    @property
    def says(self) -> AnySays:
        return Score(range=self.range)

    def answer_of(self, target: Target) -> Answer:
        assert not isinstance(target, tuple)
        return target

    def summary(self, targets: Sequence[Target]) -> list[str]:
        values = [target for target in targets if not isinstance(target, tuple)]
        mean = sum(values) / len(values)
        return [f"mean {mean:.2f}", f"from {min(values):g} to {max(values):g}"]

    def scores(self, readout_BK: Tensor, target_B: Tensor) -> dict[str, float]:
        return metrics.regression(readout_BK.squeeze(1), target_B)


def _comma(cell: str) -> str:
    """What to write for 3,5, which is 3.5 in half of the world."""
    match = re.fullmatch(r"\s*([+-]?[0-9]+),([0-9]+)\s*", cell)
    return f" here: the point is a dot, as in {match[1]}.{match[2]}" if match else ""
