"""A piece's part of its batch's loss, with the penalties of the stage's regularizers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from trivium.model.encoder import Encoder
from trivium.parts.regularizers import Context, Noise, take_noise
from trivium.parts.tasks import Task
from trivium.recipe import Stage
from trivium.run.training.distributed import Processes
from trivium.run.training.pieces import Piece
from trivium.run.training.tally import Tally
from trivium.run.training.work import Setup
from trivium.types import Batch, Step


def piece_loss(setup: Setup, stage: Stage, piece: Piece, step: Step, tally: Tally) -> Tensor:
    """The piece's part of the batch's loss, with its penalties."""
    model, batch = setup.model, piece.batch
    task = setup.recipe.tasks[batch.task]
    parts = [p for p in stage.regularizers if p.applies(batch.task) and not p.about_weights]
    with _precision(model.encoder, fp32=any(part.needs_fp32 for part in parts)):
        clean, output_BK = _clean_pass(setup, batch, repeated=bool(parts))
        loss = plain_loss(setup, piece, output_BK, tally)
        for part in parts:
            assert clean is not None
            labels = piece.loss / piece.rows
            context = Context(model, task, batch, clean.x_ND, output_BK, clean.noise, step, labels)
            penalty = part.penalty(context)
            if penalty is not None:
                tally.add_penalty(batch.task, part.kind, penalty * piece.rows)
                loss = loss + part.weight_of(batch.task) * piece.rows * penalty
    return loss


def plain_loss(setup: Setup, piece: Piece, output_BK: Tensor, tally: Tally) -> Tensor:
    """The same without penalties, of the model's outputs."""
    task = setup.recipe.tasks[piece.batch.task]
    if piece.whole_B is None:
        loss = told = task.compute_loss(output_BK, piece.batch.target_B) * piece.loss
    else:
        told = compared_loss(setup.processes, task, output_BK, piece.whole_B)
        # Every process has the whole loss, but its own rows' part of the gradient alone; of
        # which the mean over processes is taken, where their sum is meant.
        loss = told * setup.processes.world
    tally.add(task.name, told)
    tally.tokens += len(piece.batch.tokens.ids_N)
    return loss


class _Clean(NamedTuple):
    """What regularizers need of a batch's own pass, to repeat it."""

    x_ND: Tensor
    noise: Noise


def _clean_pass(setup: Setup, batch: Batch, *, repeated: bool) -> tuple[_Clean | None, Tensor]:
    """A batch's own pass: its output_BK, and what it takes to repeat it, where it will be."""
    model = setup.model
    if not repeated:
        return None, model(batch)
    x_ND = model.encoder.embed(batch.tokens)
    clean = _Clean(x_ND, take_noise(setup.device))
    return clean, model.finish(batch, model.encode(x_ND, batch))


def compared_loss(processes: Processes, task: Task, output_BK: Tensor, whole_B: Tensor) -> Tensor:
    """The loss of a batch whose rows are compared with one another, whichever process has them.

    output_BK: of this one's rows, or of none; whole_B: targets of all, process by process.
    """
    each = processes.rows_of_each(output_BK, len(whole_B))
    each[processes.rank] = output_BK
    return task.compute_loss(torch.cat(each), whole_B)


@contextmanager
def _precision(encoder: Encoder, *, fp32: bool) -> Iterator[None]:
    """fp32 for a while: perturbations far below bf16's resolution would be lost in it."""
    before = encoder.precision
    encoder.precision = torch.float32 if fp32 else before
    try:
        yield
    finally:
        encoder.precision = before
