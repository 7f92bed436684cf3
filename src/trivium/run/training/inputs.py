"""A batch's numbers at one place of a device's memory, where one copy brings them.

A recorded pass knows addresses: batches that are to go through the same one are handed over in the
same place, filled up with zeros to its size.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.model.graphs import Size
from trivium.run.training.pieces import Piece
from trivium.types import Batch, Tokens

WORD = 8
"""Bytes of what is copied, in which everything begins at a whole one."""


@dataclass(frozen=True, slots=True)
class Form:
    """What batches are alike in that can be handed over in the same place."""

    task: str
    size: Size
    shape: tuple[int, ...]
    """Of the targets."""
    dtype: torch.dtype
    """Of the targets."""

    @classmethod
    def of(cls, batch: Batch) -> "Form":
        target_B = batch.target_B
        return cls(batch.task, Size.of(batch.tokens), tuple(target_B.shape), target_B.dtype)

    @property
    def words(self) -> list[int]:
        """Of word pieces, positions, segments, lengths, targets, and of the two factors, which are
        fp32 and share one."""
        targets = -(-math.prod(self.shape) * self.dtype.itemsize // WORD)
        tokens = self.size.tokens
        return [tokens, tokens, tokens, self.size.texts, targets, 1]


class Inputs:
    """The place of batches of one form."""

    def __init__(self, form: Form, device: torch.device) -> None:
        self.form = form
        self._there = torch.zeros(sum(form.words), dtype=torch.int64, device=device)
        ids_N, positions_N, segments_N, lengths_R, targets, factors = self._there.split_with_sizes(
            form.words
        )
        tokens = Tokens(
            ids_N, positions_N, segments_N, lengths_R, form.size.longest, is_filled=True
        )
        flat = targets.view(form.dtype)[: math.prod(form.shape)]
        self.batch = Batch(form.task, tokens, flat.view(form.shape))
        self.loss, self.scale = factors.view(torch.float32).unbind()
        """Factors: `Piece.loss`, and the batch's on its loss."""

    def fill(self, piece: Piece, scale: float) -> None:
        """Hand over a batch of this form, which is on the CPU; nobody waits for the copy."""
        # A new one each time: the one before may still be on its way.
        there = self._there
        here = torch.zeros(len(there), dtype=torch.int64, pin_memory=there.is_cuda)
        batch = piece.batch
        factors = torch.tensor([piece.loss, scale], dtype=torch.float32)
        tokens = (batch.tokens.ids_N, batch.tokens.positions_N, batch.tokens.segments_N)
        parts = (*tokens, batch.tokens.lengths_R, batch.target_B, factors)
        words, begin = here.numpy(), 0
        for part, room in zip(parts, self.form.words, strict=True):
            numbers = part.numpy().ravel()
            words[begin : begin + room].view(numbers.dtype)[: len(numbers)] = numbers
            begin += room
        there.copy_(here, non_blocking=True)


def to_device(numbers: list[float], there: Tensor) -> None:
    """Write them to a vector in fp32; nobody waits for the copy."""
    here = torch.tensor(numbers, dtype=torch.float32, pin_memory=there.is_cuda)
    there.copy_(here, non_blocking=True)
