"""Losses: how far a task's outputs are from its targets. To add one: a class, a line in `AnyLoss`.

They compute in the precision of the outputs, which is fp32 whatever the encoder's is.
"""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from trivium.part import Part


class LossPart(Part):
    needs: ClassVar[str]
    """What a task must answer with for the loss to fit it, in words."""
    compares_rows: ClassVar[bool] = False
    """Whether it is about the rows of a batch together, and so no mean over them."""
    can_be_recorded: ClassVar[bool] = False
    """Whether it does the same operations whatever the numbers are, and asks a GPU for none of
    them: then a graph can do them."""

    def notes(self, rows: int) -> Iterator[str]:
        """What in batches of so many rows may not do what was meant, a sentence each."""
        yield from ()


class LabelLoss(LossPart):
    """A loss for labels: for one out of K, and for any number of K."""

    needs: ClassVar[str] = "labels"

    @abstractmethod
    def one(self, logit_BK: Tensor, label_B: Tensor, weight_K: Tensor | None = None) -> Tensor:
        """For the index of the one right label, against the softmax of the logits: a scalar.

        weight_K: of each right label; the mean over rows is then sum(w * loss) / sum(w), as in
        torch.
        """

    @abstractmethod
    def many(self, logit_BK: Tensor, applies_BK: Tensor, weight_K: Tensor | None = None) -> Tensor:
        """For every label by itself, right (1) or wrong (0), against its sigmoid: a scalar.

        weight_K: factor on the loss of each label where it is right.
        """


class ScoreLoss(LossPart):
    """A loss for scores."""

    needs: ClassVar[str] = "a score"

    @abstractmethod
    def score(self, output_B: Tensor, target_B: Tensor) -> Tensor:
        """For scores on the unit scale: a scalar."""


class CrossEntropy(LabelLoss):
    """-log p of the right label: maximum likelihood."""

    kind: Literal["cross_entropy"] = "cross_entropy"
    can_be_recorded: ClassVar[bool] = True
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target that is spread evenly over all labels (Szegedy et al. 2016, section
    7)."""

    def one(self, logit_BK: Tensor, label_B: Tensor, weight_K: Tensor | None = None) -> Tensor:
        return F.cross_entropy(logit_BK, label_B, weight_K, label_smoothing=self.label_smoothing)

    def many(self, logit_BK: Tensor, applies_BK: Tensor, weight_K: Tensor | None = None) -> Tensor:
        # A label that applies or not is a choice out of two: each gets half of what is spread.
        smooth_BK = applies_BK * (1 - self.label_smoothing) + self.label_smoothing / 2
        return F.binary_cross_entropy_with_logits(logit_BK, smooth_BK, pos_weight=weight_K)


class Focal(LabelLoss):
    """-(1 - p)^gamma log p of the right label (Lin et al. 2017, equation 4): easy rows count less.

    With class weights it is their equation 5.
    """

    kind: Literal["focal"] = "focal"
    can_be_recorded: ClassVar[bool] = True
    gamma: float = Field(default=2.0, ge=0)
    """0 is cross-entropy."""

    def one(self, logit_BK: Tensor, label_B: Tensor, weight_K: Tensor | None = None) -> Tensor:
        log_p_B = logit_BK.log_softmax(dim=1).gather(1, label_B[:, None]).squeeze(1)
        loss_B = self._focused(log_p_B)
        if weight_K is None:
            return loss_B.mean()
        weight_B = weight_K[label_B]
        return (weight_B * loss_B).sum() / weight_B.sum()

    def many(self, logit_BK: Tensor, applies_BK: Tensor, weight_K: Tensor | None = None) -> Tensor:
        sign_BK = 2 * applies_BK - 1
        loss_BK = self._focused(F.logsigmoid(sign_BK * logit_BK))
        if weight_K is not None:
            loss_BK = torch.where(applies_BK > 0, weight_K * loss_BK, loss_BK)
        return loss_BK.mean()

    def _focused(self, log_p: Tensor) -> Tensor:
        # Not 1 - exp(log p), which rounds; and away from 0, where the power has no slope.
        missing = -torch.expm1(log_p)
        return -(missing.clamp_min(torch.finfo(missing.dtype).tiny) ** self.gamma) * log_p


class MeanSquaredError(ScoreLoss):
    """(output - target)^2."""

    kind: Literal["mse"] = "mse"
    can_be_recorded: ClassVar[bool] = True

    def score(self, output_B: Tensor, target_B: Tensor) -> Tensor:
        return F.mse_loss(output_B, target_B)


class CoSENT(ScoreLoss):
    """log(1 + sum exp(scale * (s_j - s_i))) over the batch's pairs of rows with y_i > y_j.

    Su 2022 (CoSENT), where s is the cosine: of two rows, the one with the higher target shall have
    the higher score. A batch without two different targets has loss 0.

    It learns the order alone: scores may leave the task's range, to which answers are clipped.
    Give it an `anchor` where answers must be right as numbers.
    """

    kind: Literal["cosent"] = "cosent"
    compares_rows: ClassVar[bool] = True
    can_be_recorded: ClassVar[bool] = True
    scale: float = Field(default=20.0, gt=0)
    """Inverse temperature of the scores' differences."""
    anchor: float = Field(default=0.0, ge=0)
    """Weight of the mean squared error that is added."""

    def notes(self, rows: int) -> Iterator[str]:
        if rows == 1:
            yield "cosent ranks the rows of a batch, but a batch has one row"

    def score(self, output_B: Tensor, target_B: Tensor) -> Tensor:
        excess_BB = self.scale * (output_B[None, :] - output_B[:, None])  # of s_j over s_i
        wrong_BB = excess_BB.masked_fill(target_B[:, None] <= target_B[None, :], -torch.inf)
        none = wrong_BB.new_zeros(1)  # its exponential is the 1 of log(1 + ...)
        loss = torch.cat([none, wrong_BB.flatten()]).logsumexp(dim=0)
        return loss + self.anchor * F.mse_loss(output_B, target_B) if self.anchor else loss


class PairLoss(LossPart):
    """A loss for vectors of texts that belong together."""

    needs: ClassVar[str] = "vectors"
    compares_rows: ClassVar[bool] = True

    @abstractmethod
    def pairs(self, unit_BSC: Tensor, text_BS: Tensor) -> Tensor:
        """For each row's text, the one that belongs to it, and perhaps some that do not: a scalar.

        unit_BSC: vectors of length 1; text_BS: numbers that are the same for the same text.
        """


class MNRL(PairLoss):
    """Multiple negatives ranking (Henderson et al. 2017, section 4.4, of cosines; Gao et al. 2021,
    equations 1 and 5): -log softmax_j(scale * cos(u_i, v_j)) of the right j = i, mean over rows i.

    The v_j are what belongs to the rows of the batch, and what is given beside it as belonging to
    none (hard negatives). What is not wrong is left out: a v_j that is the same text as v_i or u_i,
    and one that belongs to a row whose first text is that of row i.
    """

    kind: Literal["mnrl"] = "mnrl"
    can_be_recorded: ClassVar[bool] = True
    scale: float = Field(default=20.0, gt=0)
    """Inverse temperature of the cosines."""
    symmetric: bool = False
    """Each v_i must find its u_i too, among the rows' first texts; the mean of both."""

    def notes(self, rows: int) -> Iterator[str]:
        if rows == 1:
            yield "mnrl takes what is wrong from the other rows of a batch, but a batch has one row"

    def pairs(self, unit_BSC: Tensor, text_BS: Tensor) -> Tensor:
        first_BC, first_B, second_B = unit_BSC[:, 0], text_BS[:, 0], text_BS[:, 1]
        # The second texts of all rows, then the third ones, ...
        other_MC = unit_BSC[:, 1:].transpose(0, 1).flatten(0, 1)
        other_M = text_BS[:, 1:].T.flatten()
        logit_BM = self.scale * first_BC @ other_MC.T
        same_BM = (other_M == second_B[:, None]) | (other_M == first_B[:, None])
        rows = len(first_B)
        same_BM[:, :rows] |= first_B == first_B[:, None]
        loss = _choice(logit_BM, same_BM)
        if not self.symmetric:
            return loss
        same_BB = (first_B == second_B[:, None]) | (first_B == first_B[:, None])
        same_BB |= second_B == second_B[:, None]
        return (loss + _choice(logit_BM[:, :rows].T, same_BB)) / 2


def _choice(logit_BM: Tensor, left_out_BM: Tensor) -> Tensor:
    """Cross-entropy where column i is right in row i, without the other columns left out."""
    rows = len(logit_BM)
    left_out_BM.fill_diagonal_(False)
    right_B = torch.arange(rows, device=logit_BM.device)
    return F.cross_entropy(logit_BM.masked_fill(left_out_BM, -torch.inf), right_B)


AnyLoss = Annotated[
    CrossEntropy | Focal | MeanSquaredError | CoSENT | MNRL, Field(discriminator="kind")
]
