"""One label out of several, for a text or a pair."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from trivium.answering.says import AnySays, OneLabel
from trivium.parts import metrics
from trivium.parts.tasks.labels import Labelled, symmetrised_kl
from trivium.types import Answer, Target


class Classification(Labelled):
    """Cross-entropy over `labels`; judged by accuracy, with macro-F1 (and F1 for two classes)."""

    kind: Literal["classification"] = "classification"
    problem_type: ClassVar[str] = "single_label_classification"

    @property
    def metric(self) -> str:
        return "accuracy"

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
        return OneLabel(labels=self.labels or {})

    def answer_of(self, target: Target) -> Answer:
        assert not isinstance(target, tuple)
        return self.names[int(target)]

    def scores(self, readout_BK: Tensor, target_B: Tensor) -> dict[str, float]:
        return metrics.classification(readout_BK, target_B)
