"""A drawn batch as the pieces that go through the model one after another.

A batch is split between processes, and where it holds more tokens than fit, into pieces of texts
of like length, so that memory is bounded however long texts are. Each piece knows what it counts,
so that the gradients add up to those of the whole batch.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trivium.run.rows.encoded import Encoded
from trivium.run.training.distributed import Processes
from trivium.types import Batch

TOKENS_AT_ONCE = {"cpu": 4096, "cuda": 32768}
"""Of a piece of a batch, where the stage does not say."""

Rows = NDArray[np.int64]


class Piece(NamedTuple):
    """Rows that go through the model at once."""

    batch: Batch
    loss: float
    """Factor on its mean loss, whose rows may have weights, so that the mean over processes of the
    sum over pieces is the mean over the drawn rows."""
    rows: float
    """The same for a mean in which all rows count alike."""
    whole_B: Tensor | None = None
    """Targets of all drawn rows, process by process, where a loss compares them and others have
    some."""


def pieces(
    encoded: Encoded, rows: Rows, limit: int, processes: Processes, device: torch.device
) -> list[Piece]:
    """This process's share of the drawn rows; empty where there are fewer rows than processes.

    limit: tokens of a piece, unless one row alone has more. A loss that compares rows keeps them
    together.
    """
    task = encoded.task
    mine = rows[processes.rank :: processes.world]
    parts = [mine]
    if not task.resolved_loss.compares_rows:
        parts = [mine[places] for places in split(encoded.row_lengths(mine), limit)]
    batches = [encoded.batch(part) for part in parts if len(part)]
    whole_B = compared_targets(encoded, rows, processes, device)
    mass = [task.mass(batch.target_B) for batch in batches]
    if task.draws_targets:  # how many, only the process knows that drew them
        total = torch.tensor([sum(mass)], dtype=torch.float64, device=device)
        processes.mean_([total])
        whole = float(total)
    else:
        whole = task.mass(encoded.target_B[torch.from_numpy(rows)]) / processes.world
    alike = len(rows) / processes.world
    return [
        Piece(
            batch.to(device),
            part / whole,
            part / whole if task.draws_targets else len(batch.target_B) / alike,
            whole_B,
        )
        for batch, part in zip(batches, mass, strict=True)
    ]


def compared_targets(
    encoded: Encoded, rows: Rows, processes: Processes, device: torch.device
) -> Tensor | None:
    """`Piece.whole_B` of the drawn rows."""
    if processes.world == 1 or not encoded.task.resolved_loss.compares_rows:
        return None
    shares = [rows[rank :: processes.world] for rank in range(processes.world)]
    return encoded.target_B[torch.from_numpy(np.concatenate(shares))].to(device)


def split(length_B: NDArray[np.int64], limit: int) -> list[Rows]:
    """Places of the rows in parts of at most `limit` tokens, or of one row; the longest first.

    One part in the given order where all fit; otherwise rows of like length stand together.
    """
    if length_B.sum() <= limit:
        return [np.arange(len(length_B))]
    parts: list[list[int]] = [[]]
    held = 0
    for place in np.argsort(-length_B, kind="stable").tolist():
        tokens = int(length_B[place])
        if parts[-1] and held + tokens > limit:
            parts.append([])
            held = 0
        parts[-1].append(place)
        held += tokens
    return [np.asarray(part) for part in parts]
