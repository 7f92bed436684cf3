"""The values that travel between layers. Imports nothing of ours.

Shape letters, used everywhere as suffixes of tensor names:
  N tokens of a batch, packed one text after another (no padding)
  R texts of a batch (R = B, or 2B when pairs are encoded apart: all firsts, then all seconds)
  L tokens of the longest text      B examples      T tasks      V word pieces
  D width of the encoder            H heads         K outputs of a head      P parameters
  M tokens of a batch that a head is asked about (masked words)      E members of an ensemble
"""

from __future__ import annotations  # rows are read where torch is not installed

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Answer = str | float
"""What a task says about one row: a label, or a score in the task's range."""

How = Literal["vote", "mean", "weights"]
"""How the answers of an ensemble's members become one."""

Target = float | tuple[int, ...]
"""What a task learns from one row: the index of its label, the score, or the indices of all labels
that apply, in rising order."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table, as read: cells are text, whatever they look like."""

    cells: Mapping[str, str]
    line: int
    """Line of the file on which the row starts, counted from 1 (a header is line 1)."""
    values: Mapping[str, object] | None = None
    """The same cells with their types, where the format has types: what was true is True here, and
    "true" in `cells`. None where all is text."""


@dataclass(frozen=True, slots=True)
class Example:
    """What a task makes of a row: one or two texts, and the target if the row has one."""

    texts: tuple[str, ...]
    target: Target | None
    """None where the row has no label."""
    line: int


@dataclass(frozen=True, slots=True)
class Tokens:
    """R texts as one packed stream of N tokens, text after text."""

    ids_N: Tensor
    positions_N: Tensor
    segments_N: Tensor
    lengths_R: Tensor
    longest: int
    """L, kept as a number so that a GPU is never asked for it."""
    asked_M: Tensor | None = None
    """Places in the stream of the tokens that a head is asked about; None: whole texts."""
    is_filled: bool = False
    """Whether there may be more tokens after the last text: zeros, which belong to none."""

    def to(self, device: torch.device) -> Tokens:
        if device == self.ids_N.device:
            return self
        if device.type == "cuda":
            return self._at_once(device)
        return replace(
            self,
            ids_N=self.ids_N.to(device, non_blocking=True),
            positions_N=self.positions_N.to(device, non_blocking=True),
            segments_N=self.segments_N.to(device, non_blocking=True),
            lengths_R=self.lengths_R.to(device, non_blocking=True),
            asked_M=None if self.asked_M is None else self.asked_M.to(device, non_blocking=True),
        )

    def _at_once(self, device: torch.device) -> Tokens:
        """As one copy from pinned memory, which nobody waits for."""
        parts = [self.ids_N, self.positions_N, self.segments_N, self.lengths_R]
        parts += [] if self.asked_M is None else [self.asked_M]
        sizes = [len(part) for part in parts]
        here = self.ids_N.new_empty(sum(sizes), pin_memory=True)
        for place, part in zip(here.split_with_sizes(sizes), parts, strict=True):
            place.copy_(part)
        there = here.to(device, non_blocking=True)
        ids_N, positions_N, segments_N, lengths_R, *asked = there.split_with_sizes(sizes)
        asked_M = asked[0] if asked else None
        return replace(
            self, ids_N=ids_N, positions_N=positions_N, segments_N=segments_N,
            lengths_R=lengths_R, asked_M=asked_M,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Batch:
    """Examples of one task, ready for the model. A batch never mixes tasks."""

    task: str
    tokens: Tokens
    target_B: Tensor
    """Of each row, or of each token that is asked about."""
    teacher_BK: Tensor | None = None
    """What teachers say of the rows, on the answer's own scale."""

    def to(self, device: torch.device) -> Batch:
        return Batch(
            self.task,
            self.tokens.to(device),
            _without_waiting(self.target_B, device),
            None if self.teacher_BK is None else self.teacher_BK.to(device),
        )


def _without_waiting(tensor: Tensor, device: torch.device) -> Tensor:
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@dataclass(frozen=True, slots=True)
class Step:
    """What a part may know about the current optimizer step of its stage."""

    index: int
    """Counted from 0."""
    total: int
    epoch: int
    """Counted from 1, as in the papers."""
    epochs: int
    generator: torch.Generator
    """For decisions (which task, in which order): the same on every process."""
    memory: dict[str, Tensor] = field(default_factory=dict)
    """Tensors a part keeps from step to step; saved in the checkpoint, so resuming is exact."""
    tasks: tuple[str, ...] = ()
    """Names of the tasks that the step trains, in the order of gram_TT."""
    steps_per_epoch: int = 1
