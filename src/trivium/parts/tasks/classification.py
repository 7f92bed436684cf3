"""One label out of several, for a text or a pair."""

from functools import cached_property
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import field_validator
from torch import Tensor

from trivium.parts import metrics
from trivium.parts.heads import AnyHead, ConcatHead, LinearHead
from trivium.parts.tasks.base import RowError, Task
from trivium.types import Answer


class Classification(Task):
    """Cross-entropy over `labels`; judged by accuracy, with macro-F1 (and F1 for two classes)."""

    kind: Literal["classification"] = "classification"
    labels: dict[str, str] | None = None
    """What stands in the column -> name in answers (a list: both are the same). By default the
    values found in the training file, sorted. A number in the column may be written in any way:
    `1` and `1.0` are the same label."""

    @field_validator("labels", mode="before")
    @classmethod
    def _as_texts(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            texts = [_text(item) for item in value]
            if len(set(texts)) < len(texts):
                raise ValueError("names a label twice")
            return {text: text for text in texts}
        if isinstance(value, dict):
            return {_text(key): _text(name) for key, name in value.items()}
        return value

    @field_validator("labels")
    @classmethod
    def _at_least_two(cls, value: dict[str, str] | None) -> dict[str, str] | None:
        if value is None:
            return value
        if len(value) < 2:
            raise ValueError(f"needs at least two labels, found {len(value)}")
        if len(set(value.values())) < len(value):
            raise ValueError("gives the same name to two labels")
        if len({canonical(key) for key in value}) < len(value):
            raise ValueError("holds the same number twice, written in two ways")
        return value

    @property
    def outputs(self) -> int:
        return len(self.labels) if self.labels else 0

    @property
    def names(self) -> list[str]:
        """Names of the labels, in the order of the outputs."""
        return list((self.labels or {}).values())

    @property
    def metric(self) -> str:
        return "accuracy"

    def default_head(self) -> AnyHead:
        return ConcatHead() if self.sequences == 2 else LinearHead()

    @cached_property
    def _index(self) -> dict[str, int]:
        return {canonical(key): index for index, key in enumerate(self.labels or {})}

    def target(self, cell: str) -> float:
        found = self._index.get(canonical(cell))
        if found is None:
            raise RowError(
                f"column {self.label!r} holds {cell!r}, which is not one of its labels "
                f"{_some(list(self.labels or {}))}. Add it to `labels`, fix the row, "
                "or set `bad_rows: skip`"
            )
        return found

    def targets(self, values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64)

    def loss(self, output_BK: Tensor, target_B: Tensor) -> Tensor:
        return F.cross_entropy(output_BK, target_B)

    def readout(self, output_BK: Tensor) -> Tensor:
        return output_BK.softmax(dim=-1)

    def answers(self, readout_BK: Tensor) -> list[Answer]:
        names = self.names
        return [names[index] for index in readout_BK.argmax(dim=-1).tolist()]

    def columns(self, readout_BK: Tensor, *, detailed: bool) -> dict[str, list[Answer]]:
        confidence: list[Answer] = [round(p, 6) for p in readout_BK.max(dim=-1).values.tolist()]
        columns = {"prediction": self.answers(readout_BK), "confidence": confidence}
        if detailed:
            for name, column_B in zip(self.names, readout_BK.unbind(1), strict=True):
                columns[f"probability_{name}"] = [round(p, 6) for p in column_B.tolist()]
        return columns

    def scores(self, readout_BK: Tensor, target_B: Tensor) -> dict[str, float]:
        return metrics.classification(readout_BK, target_B)


def _text(value: object) -> str:
    """A YAML value as it stands in a table's cell."""
    if value is None:
        raise ValueError("holds an empty label; put null in quotes if it is the label's name")
    return str(value).lower() if isinstance(value, bool) else str(value)


def canonical(cell: str) -> str:
    """Numbers in one spelling ('1.0' -> '1'); other labels without surrounding space."""
    cell = cell.strip()
    try:
        number = float(cell)
    except ValueError:
        return cell
    # Beyond 2**53 different whole numbers would become one; inf and nan are no numbers here.
    if "_" in cell or not abs(number) < 2**53:
        return cell
    return repr(int(number)) if number.is_integer() else repr(number)


def _some(labels: list[str]) -> str:
    shown = ", ".join(repr(label) for label in labels[:12])
    return f"[{shown}]" if len(labels) <= 12 else f"[{shown}, … {len(labels)} in all]"
