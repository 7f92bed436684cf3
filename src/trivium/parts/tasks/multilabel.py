"""Any number of labels out of several, for a text or a pair."""

import json
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from trivium.answering.decide import Decided
from trivium.answering.says import AnySays, SeveralLabels
from trivium.parts import metrics
from trivium.parts.tasks.cells import listed
from trivium.parts.tasks.labels import Labelled
from trivium.types import Answer, Target


class Multilabel(Labelled):
    """Binary cross-entropy for each of `labels`; judged by micro-F1, with macro-F1 and exact match.

    A class weight is a factor on the loss of the rows that have the label, against those that have
    it not; `balanced` gives both the same weight.
    """

    kind: Literal["multilabel"] = "multilabel"
    separator: str = Field(default=",", min_length=1)
    """Between the labels of a cell, and of an answer. A cell may also be a list, in JSON or as
    Python prints it: `["a", "b"]`, `['a', 'b']`."""
    empty_cell: Literal["missing", "none_apply"] = "missing"
    """What an empty cell, or an empty list, says: that nobody labelled the row (see
    `missing_labels`), or that none of the labels applies."""
    threshold: float = Field(default=0.5, gt=0, lt=1)
    """Probability from which a label is part of the answer."""

    judged_by: ClassVar[tuple[str, ...]] = ("micro_f1", "macro_f1", "exact_match")
    fewest: ClassVar[int] = 1
    problem_type: ClassVar[str] = "multi_label_classification"
    empty_hint: ClassVar[str] = ", or `empty_cell: none_apply` if it says that no label applies"

    @model_validator(mode="after")
    def _labels_can_be_joined(self) -> Self:
        self._check_joined()
        return self

    def _check_joined(self) -> None:
        for label in [text for pair in (self.labels or {}).items() for text in pair]:
            if self.separator in label:
                raise ValueError(
                    f"labels: {label!r} holds the separator {self.separator!r}; rename it, "
                    "or set `separator` to what stands between labels"
                )

    def labels_in(self, cell: str) -> list[str]:
        in_list = listed(cell)
        return cell.split(self.separator) if in_list is None else in_list

    def with_labels(self, cells: Sequence[str]) -> "Multilabel":
        task = super().with_labels(cells)
        assert isinstance(task, Multilabel)
        task._check_joined()  # lists may hold what cells with a separator cannot
        return task

    def relabelled(self, cell: str, words: Mapping[str, str]) -> str:
        pairs = [(label, words.get(label.strip(), label)) for label in self.labels_in(cell)]
        # A label that was emptied is gone; one that stood empty in the file is still a mistake.
        kept = [new for old, new in pairs if new.strip() or not old.strip()]
        if any(self.separator in label for label in kept):
            return json.dumps(kept, ensure_ascii=False)
        return self.separator.join(kept)

    def lacks_label(self, cell: str) -> bool:
        return self.empty_cell == "missing" and self._says_nothing(cell)

    def _says_nothing(self, cell: str) -> bool:
        return cell.strip() == "" or listed(cell) == []

    def target(self, cell: str) -> tuple[int, ...]:
        if self._says_nothing(cell):
            return ()
        return tuple(sorted({self.index(label.strip()) for label in self.labels_in(cell)}))

    def targets(self, values: Sequence[Target]) -> Tensor:
        applies_BK = torch.zeros(len(values), self.outputs)
        for row, indices in enumerate(values):
            assert isinstance(indices, tuple)
            applies_BK[row, list(indices)] = 1.0
        return applies_BK

    def balanced(self, label: str, count: int, rows: int) -> float:
        if count == rows:
            raise ValueError(
                f"class_weights: balanced: every training row has the label {label!r}. Take it "
                "out of `labels`, or give the weights as numbers."
            )
        return (rows - count) / count

    def compute_loss(self, output_BK: Tensor, target_B: Tensor) -> Tensor:
        return self.label_loss.many(output_BK, target_B, self.weights(output_BK))

    def divergence(self, output_BK: Tensor, other_BK: Tensor) -> Tensor:
        # Of two Bernoulli distributions it is (p - q) (logit p - logit q).
        output_BK, other_BK = output_BK.float(), other_BK.float()
        apart_BK = (output_BK.sigmoid() - other_BK.sigmoid()) * (output_BK - other_BK)
        return apart_BK.sum(-1).mean()

    def imitation(self, output_BK: Tensor, teacher_BK: Tensor, temperature: float) -> Tensor:
        # As `compute_loss` does, each label by itself, and the mean over them.
        soft_BK = (teacher_BK.logit() / temperature).sigmoid()
        logit_BK = output_BK.float() / temperature
        return F.binary_cross_entropy_with_logits(logit_BK, soft_BK) * temperature**2

    def settled(self, readout_BK: Tensor) -> Tensor:
        return (readout_BK >= self.threshold).float()

    def readout(self, output_BK: Tensor) -> Tensor:
        return output_BK.sigmoid()

    @property
    def says(self) -> AnySays:
        return SeveralLabels(
            labels=self.labels or {},
            decide=self.decide,
            threshold=self.threshold,
            separator=self.separator,
        )

    def answer_of(self, target: Target) -> Answer:
        assert isinstance(target, tuple)
        return self.separator.join(self.names[index] for index in sorted(target))

    def summary(self, targets: Sequence[Target]) -> list[str]:
        none = sum(target == () for target in targets)
        return super().summary(targets) + ([f"(no label applies) {none:,}"] if none else [])

    def scores(self, readout_BK: Tensor, target_B: Tensor) -> dict[str, float]:
        if self.decide is not None:
            return self.decided_scores(readout_BK, target_B)
        return metrics.multilabel(readout_BK >= self.threshold, target_B > 0)

    def scores_of(self, decided: Decided, target_B: Tensor) -> dict[str, float]:
        return metrics.multilabel(torch.from_numpy(decided.said), target_B > 0)

    def right(self, decided: Decided, target_B: Tensor) -> Tensor:
        return (torch.from_numpy(decided.said) == (target_B > 0)).all(dim=1)
