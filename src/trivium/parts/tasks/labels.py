"""What all tasks that answer with labels share: their names, and what each weighs."""

import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, cached_property
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import (
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)
from torch import Tensor

from trivium.answering.decide import Decide, Decided
from trivium.answering.says import Labels
from trivium.errors import did_you_mean
from trivium.parts.heads import AnyHead, ConcatHead, LinearHead
from trivium.parts.losses import AnyLoss, CrossEntropy, LabelLoss, LossPart
from trivium.parts.tasks.base import Task
from trivium.parts.tasks.cells import Known, as_text, misnamed, spellings
from trivium.parts.tasks.rows import RowError
from trivium.types import Target

MOST_FOUND_LABELS = 5000
MOST_SHOWN = 8


class Labelled(Task):
    """A task that answers with labels."""

    labels: dict[str, str] | None = None
    """What stands in the column -> name in answers (a list: both are the same). By default the
    values found in the training file, sorted and spelt as there; but in a column of plain numbers
    `1.0` is `1`. A cell that is no label is read as the one that is the same number."""
    class_weights: Literal["balanced"] | dict[str, float] | None = None
    """What a row counts in the loss by its label, as it stands in the column; labels not named
    count 1. balanced: from the training rows, the rarer the more."""

    decide: Decide | None = None
    """How answers are decided upon; of a model's folder only, where `trivium calibrate` puts it."""

    losses: ClassVar[type[LossPart]] = LabelLoss
    stratifies: ClassVar[bool] = True
    fewest: ClassVar[int] = 2
    """Labels that the kind of task needs at least."""

    @field_validator("labels", mode="before")
    @classmethod
    def _as_texts(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            texts = [as_text(item) for item in value]
            if len(set(texts)) < len(texts):
                raise ValueError("names a label twice")
            return {text: text for text in texts}
        if isinstance(value, dict):
            return {as_text(key): as_text(name) for key, name in value.items()}
        return value

    @field_validator("labels")
    @classmethod
    def _can_be_told_apart(cls, value: dict[str, str] | None) -> dict[str, str] | None:
        if value is None:
            return value
        if len(value) < cls.fewest:
            least = "one label" if cls.fewest == 1 else "two labels"
            raise ValueError(f"needs at least {least}, found {len(value)}")
        if (what := misnamed(value)) is not None:
            raise ValueError(what)
        return value

    @field_validator("class_weights", mode="before")
    @classmethod
    def _as_weights(cls, value: Any) -> Any:
        if value is None or value == "balanced":
            return value
        if not isinstance(value, dict):
            raise ValueError(f"must be `balanced` or a table of label: weight, found {value!r}")
        weights = {as_text(key).strip(): weight for key, weight in value.items()}
        if len(set(spellings(weights).values())) < len(value):
            raise ValueError("names a label twice")
        for label, weight in weights.items():
            number = isinstance(weight, int | float) and not isinstance(weight, bool)
            if not (number and 0 < weight < float("inf")):
                raise ValueError(f"{label!r} must be a number above 0, found {weight!r}")
        return weights

    @model_validator(mode="after")
    def _weights_name_labels(self) -> Self:
        self._check_weights()
        return self

    def _check_weights(self) -> None:
        if self.labels is None or not isinstance(self.class_weights, dict):
            return
        meant = [self._known.find(label) for label in self.class_weights]
        for label, found in zip(self.class_weights, meant, strict=True):
            if found is None:
                hint = did_you_mean(label, self.labels)
                raise ValueError(f"class_weights: no label {label!r} in the column{hint}")
            if meant.count(found) > 1:
                raise ValueError(f"class_weights: names the label {found!r} twice")

    # --- how answers are decided upon ---------------------------------------------------------

    @model_serializer(mode="wrap")
    def _without_nothing(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = dump(self)
        if values.get("decide", 0) is None:  # what nobody calibrated is written as ever
            del values["decide"]
        return values

    @model_validator(mode="after")
    def _decides_by_its_labels(self) -> Self:
        if self.decide is not None and (what := self.decide.misfit(self.names)):
            raise ValueError(f"decide: {what}")
        return self

    def undecided(self) -> Self:
        return self if self.decide is None else self.deciding(None)

    def deciding(self, decide: Decide | None) -> Self:
        """The task, whose answers are decided upon in this way."""
        return self.model_copy(update={"decide": decide})

    def decided(self, readout_BK: Tensor) -> Decided:
        says = self.says
        assert isinstance(says, Labels)
        return says.decided(readout_BK.numpy())

    @abstractmethod
    def scores_of(self, decided: Decided, target_B: Tensor) -> dict[str, float]:
        """As `scores`, of what was decided; as if every row were answered."""

    def right(self, decided: Decided, target_B: Tensor) -> Tensor:
        """Whether each answer is wholly right: right_B (bool)."""
        return torch.from_numpy(decided.said) == target_B

    def decided_scores(self, readout_BK: Tensor, target_B: Tensor) -> dict[str, float]:
        """Scores of a task that has something to decide by. Where it may abstain, with the share of
        rows that it answers, and of these the share whose answers are right."""
        decided = self.decided(readout_BK)
        found = self.scores_of(decided, target_B)
        if self.decide is None or self.decide.abstain is None:
            return found
        is_answered_B = torch.from_numpy(decided.answered_B)
        right_B = self.right(decided, target_B)[is_answered_B].double()
        return found | {
            "answered": float(is_answered_B.double().mean()),
            "right_where_answered": float(right_B.mean()) if len(right_B) else 0.0,
        }

    # --- labels -------------------------------------------------------------------------------

    @property
    def outputs(self) -> int:
        return len(self.labels) if self.labels else 0

    @property
    def names(self) -> list[str]:
        """Names of the labels, in the order of the outputs."""
        return list((self.labels or {}).values())

    @cached_property
    def _known(self) -> Known:
        return Known(self.labels or {})

    @cached_property
    def _index(self) -> dict[str, int]:
        return {key: index for index, key in enumerate(self.labels or {})}

    def index(self, label: str) -> int:
        """The output that stands for what a cell holds. Raises RowError."""
        found = self._known.find(label)
        if found is None:
            raise RowError(
                f"column {self.label!r} holds {label!r}, which is not one of its labels "
                f"{_some(list(self.labels or {}))}. Add it to `labels`, fix the row, "
                "or set `bad_rows: skip`"
            )
        return self._index[found]

    def respelt(self, cells: Iterable[str]) -> dict[str, str]:
        """What of these cells is a label in another spelling -> that label."""
        each = {label.strip() for cell in cells for label in self.labels_in(cell)}
        meant = {label: self._known.find(label) for label in sorted(each)}
        return {label: own for label, own in meant.items() if own not in (None, label)}

    @property
    def looks_for_labels(self) -> bool:
        return self.labels is None

    def with_labels(self, cells: Sequence[str]) -> "Labelled":
        each = {label.strip() for cell in cells for label in self.labels_in(cell)}
        found = _sorted(set(spellings(each - {""}).values()))
        if not self.fewest <= len(found) <= MOST_FOUND_LABELS:
            what = "label" if len(found) == 1 else "different labels"
            raise ValueError(
                f"column {self.label!r} holds {len(found):,} {what}; this kind of task needs "
                f"{self.fewest} to {MOST_FOUND_LABELS:,}. "
                "Where rows with others are still to come, list all `labels` in the recipe's task."
            )
        task = self.model_copy(update={"labels": {label: label for label in found}})
        task._check_weights()
        return task

    # --- weights ------------------------------------------------------------------------------

    def with_weights(self, targets: Sequence[Target]) -> "Labelled":
        if self.class_weights != "balanced":
            return self
        counts = self.count(targets)
        weights = {}
        for index, label in enumerate(self.labels or {}):
            if counts[index] == 0:
                raise ValueError(
                    f"class_weights: balanced: no training row has the label {label!r}. Take it "
                    "out of `labels`, or give the weights as numbers."
                )
            weights[label] = self.balanced(label, counts[index], len(targets))
        return self.model_copy(update={"class_weights": weights})

    def balanced(self, label: str, count: int, rows: int) -> float:
        """Weight of a label that `count` of all rows have: every label then weighs the same."""
        return rows / (self.outputs * count)

    def weights(self, like: Tensor) -> Tensor | None:
        """The class weights in the order of the outputs, on the device of `like`: weight_K."""
        if self.class_weights is None:
            return None
        assert isinstance(self.class_weights, dict), "numbers are put in when data is loaded"
        given = {self._known.find(label): weight for label, weight in self.class_weights.items()}
        each = (given.get(label, 1.0) for label in self.labels or {})
        return _vector(tuple(each), like.dtype, like.device)

    @property
    def weighs_labels(self) -> bool:
        return bool(self.class_weights)

    # --- what all kinds of labels share -------------------------------------------------------

    def default_head(self) -> AnyHead:
        return ConcatHead() if self.sequences == 2 else LinearHead()

    def default_loss(self) -> AnyLoss:
        return CrossEntropy()

    @property
    def label_loss(self) -> LabelLoss:
        loss = self.resolved_loss
        assert isinstance(loss, LabelLoss), "validation refuses others"
        return loss

    def count(self, targets: Sequence[Target]) -> Mapping[int, int]:
        """Rows by label, as the index of its output."""
        found: Counter[int] = Counter()
        for target, rows in Counter(targets).items():  # few are different, of however many
            for index in target if isinstance(target, tuple) else (int(target),):
                found[index] += rows
        return found

    def summary(self, targets: Sequence[Target]) -> list[str]:
        counts = self.count(targets)
        shown = [f"{name} {counts[i]:,}" for i, name in enumerate(self.names[:MOST_SHOWN])]
        more = [f"… {len(self.names)} labels"] if len(self.names) > MOST_SHOWN else []
        return shown + more


@cache  # always the same one: nobody waits for a copy, and a graph may know its address
def _vector(numbers: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # an evaluation's may serve training
        return torch.tensor(numbers, dtype=dtype, device=device)


def symmetrised_kl(output_BK: Tensor, other_BK: Tensor) -> Tensor:
    """KL(p || q) + KL(q || p) of two softmax distributions, mean over rows: a scalar."""
    # Both directions in one: sum p (log p - log q) + q (log q - log p).
    log_p_BK, log_q_BK = output_BK.float().log_softmax(-1), other_BK.float().log_softmax(-1)
    return ((log_p_BK.exp() - log_q_BK.exp()) * (log_p_BK - log_q_BK)).sum(-1).mean()


def is_number(label: str) -> bool:
    return re.fullmatch(r"[-+]?[0-9]*\.?[0-9]+([eE][-+]?[0-9]+)?", label) is not None


def _some(labels: list[str]) -> str:
    shown = ", ".join(repr(label) for label in labels[:12])
    return f"[{shown}]" if len(labels) <= 12 else f"[{shown}, … {len(labels)} in all]"


def _sorted(labels: set[str]) -> list[str]:
    """Numbers by value, texts by alphabet."""
    if all(is_number(label) for label in labels):
        return sorted(labels, key=lambda label: (float(label), label))
    return sorted(labels)
