"""One label out of several, for a text or a pair."""

from collections.abc import Sequence
from typing import ClassVar, Literal, Self

import torch
from pydantic import model_validator
from torch import Tensor

from trivium.answering.decide import Decided
from trivium.answering.says import AnySays, OneLabel
from trivium.parts import metrics
from trivium.parts.tasks.labels import Labelled, symmetrised_kl
from trivium.types import Answer, Target


class Classification(Labelled):
    """Cross-entropy over `labels`; judged by accuracy, or macro-F1, or F1 of the second of two
    labels."""

    kind: Literal["classification"] = "classification"
    problem_type: ClassVar[str] = "single_label_classification"
    judged_by: ClassVar[tuple[str, ...]] = ("accuracy", "macro_f1", "f1")

    @model_validator(mode="after")
    def _f1_is_of_two(self) -> Self:
        self._check_metric()
        return self

    def with_labels(self, cells: Sequence[str]) -> Labelled:
        task = super().with_labels(cells)
        assert isinstance(task, Classification)
        task._check_metric()
        return task

    def _check_metric(self) -> None:
        if self.metric == "f1" and self.labels is not None and len(self.labels) != 2:
            raise ValueError(
                f"metric: f1 is that of the second of two labels, but there are "
                f"{len(self.labels)}; use macro_f1"
            )

    def target(self, cell: str) -> float:
        return self.index(cell)

    def targets(self, values: Sequence[Target]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64)

    def compute_loss(self, output_BK: Tensor, target_B: Tensor) -> Tensor:
        return self.label_loss.one(output_BK, target_B, self.weights(output_BK))

    def divergence(self, output_BK: Tensor, other_BK: Tensor) -> Tensor:
        return symmetrised_kl(output_BK, other_BK)

    def imitation(self, output_BK: Tensor, teacher_BK: Tensor, temperature: float) -> Tensor:
        # p^(1/T), rescaled; a probability of 0 stays 0.
        soft_BK = (teacher_BK.log() / temperature).softmax(-1)
        log_q_BK = (output_BK.float() / temperature).log_softmax(-1)
        return -(soft_BK * log_q_BK).sum(-1).mean() * temperature**2

    def settled(self, readout_BK: Tensor) -> Tensor:
        return readout_BK.argmax(dim=-1)

    def readout(self, output_BK: Tensor) -> Tensor:
        return output_BK.softmax(dim=-1)

    def mass(self, target_B: Tensor) -> float:
        weight_K = self.weights(target_B.float())
        return super().mass(target_B) if weight_K is None else float(weight_K[target_B].sum())

    @property
    def says(self) -> AnySays:
        return OneLabel(labels=self.labels or {}, decide=self.decide)

    def answer_of(self, target: Target) -> Answer:
        assert not isinstance(target, tuple)
        return self.names[int(target)]

    def scores(self, readout_BK: Tensor, target_B: Tensor) -> dict[str, float]:
        if self.decide is not None:
            return self.decided_scores(readout_BK, target_B)
        return metrics.classification(readout_BK, target_B)

    def scores_of(self, decided: Decided, target_B: Tensor) -> dict[str, float]:
        said_B = torch.from_numpy(decided.said)
        return metrics.classification(torch.from_numpy(decided.told_BK), target_B, said_B)
