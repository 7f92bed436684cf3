"""One label out of several that have an order, for a text or a pair."""

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import model_validator
from torch import Tensor, nn

from trivium.answering.decide import Decided
from trivium.model.encoder import Encoder
from trivium.model.multitask import Head, Pooling
from trivium.parts import metrics
from trivium.parts.tasks.classification import Classification
from trivium.parts.tasks.labels import Labelled, is_number
from trivium.types import Tokens


class Ordinal(Classification):
    """Proportional odds (McCullagh 1980): thresholds cut the one number of the head in ranges.

    P(y <= k) = sigmoid(threshold_k - f(x)). `labels` stand in order, the lowest first; they may be
    left out where all are numbers. Judged by accuracy, with macro-F1, the share of answers at most
    one label away, and Spearman's correlation.
    """

    kind: Literal["ordinal"] = "ordinal"  # type: ignore[assignment]

    judged_by: ClassVar[tuple[str, ...]] = ("accuracy", "macro_f1", "one_off", "spearman")

    @model_validator(mode="after")
    def _numbers_in_order(self) -> "Ordinal":
        found = list(self.labels or {})
        if all(is_number(label) for label in found):
            values = [float(label) for label in found]
            if values not in (sorted(values), sorted(values, reverse=True)):
                raise ValueError(
                    f"labels: {', '.join(found)} neither rise nor fall; write them in their order, "
                    "the lowest first"
                )
        return self

    @property
    def head_outputs(self) -> int:
        return 1

    def build_head(self, width: int, words: int = 0) -> Head:
        return _CumulativeLink(super().build_head(width, words), self.outputs)

    def with_labels(self, cells: Sequence[str]) -> Labelled:
        task = super().with_labels(cells)
        words = [label for label in task.labels or {} if not is_number(label)]
        if words:
            raise ValueError(
                f"column {self.label!r} holds {words[0]!r}, which is no number, so nothing tells "
                "the order of its labels. Say `labels`, the lowest first."
            )
        for one, two in pairwise(task.labels or {}):
            if float(one) == float(two):
                raise ValueError(
                    f"column {self.label!r} holds {one!r} and {two!r}, which are the same number. "
                    "Write it in one way, or say `labels`."
                )
        return task

    def scores(self, readout_BK: Tensor, target_B: Tensor) -> dict[str, float]:
        if self.decide is not None:
            return self.decided_scores(readout_BK, target_B)
        return metrics.ordinal(readout_BK, target_B)

    def scores_of(self, decided: Decided, target_B: Tensor) -> dict[str, float]:
        said_B = torch.from_numpy(decided.said)
        return metrics.ordinal(torch.from_numpy(decided.told_BK), target_B, said_B)


class _CumulativeLink(Head):
    """Log-probabilities of K ordered labels from a head's one number and K - 1 thresholds.

    They are normalised, so their softmax is the distribution itself: losses, divergence and readout
    are those of any classification.
    """

    def __init__(self, score: Head, labels: int) -> None:
        super().__init__()
        self.score, self.trunk = score, score.trunk
        self.can_be_recorded = score.can_be_recorded
        # At first all labels are equally likely where f(x) is 0.
        threshold_J = torch.logit(torch.arange(1, labels) / labels)
        # The first threshold, then what softplus makes the distance to the next.
        rises_J = threshold_J.diff().expm1().log()
        self.thresholds = nn.Parameter(torch.cat([threshold_J[:1], rises_J]))

    @property
    def pools(self) -> Pooling | None:
        return self.score.pools

    def borrow(self, trunk: nn.Module) -> None:
        self.score.borrow(trunk)

    def represent(self, hidden_ND: Tensor, tokens: Tokens, encoder: Encoder) -> Tensor:
        return self.score.represent(hidden_ND, tokens, encoder)

    def represent_padded(self, hidden_RLD: Tensor, mask_RL: Tensor, encoder: Encoder) -> Tensor:
        return self.score.represent_padded(hidden_RLD, mask_RL, encoder)

    def decide(self, vector_BSC: Tensor, trunk: nn.Module | None = None) -> Tensor:
        first, rises_J = self.thresholds[:1], F.softplus(self.thresholds[1:])
        threshold_J = first + F.pad(rises_J.cumsum(0), (1, 0))
        link_BJ = threshold_J - self.score.decide(vector_BSC, trunk)
        # Between thresholds a > b: sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - e^(b-a)),
        # whose logarithm is finite however far f(x) is from both.
        rises_J = rises_J.clamp_min(torch.finfo(rises_J.dtype).tiny)
        below_BK = F.pad(F.logsigmoid(link_BJ), (0, 1))
        above_BK = F.pad(F.logsigmoid(-link_BJ), (1, 0))
        return below_BK + above_BK + F.pad((-torch.expm1(-rises_J)).log(), (1, 1))
