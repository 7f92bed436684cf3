"""A piece's part of its batch's loss, with the penalties of the stage's regularizers."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from trivium.model.encoder import Encoder
from trivium.parts.regularizers import Context, take_noise
from trivium.recipe import Stage
from trivium.run.training.pieces import Piece
from trivium.run.training.tally import Tally
from trivium.run.training.work import Setup
from trivium.types import Step


def piece_loss(setup: Setup, stage: Stage, piece: Piece, step: Step, tally: Tally) -> Tensor:
    """The piece's part of the batch's loss, with its penalties."""
    model, batch = setup.model, piece.batch
    task = setup.recipe.tasks[batch.task]
    parts = [part for part in stage.regularizers if part.applies(batch.task)]
    with _precision(model.encoder, fp32=any(part.needs_fp32 for part in parts)):
        x_ND = model.encoder.embed(batch.tokens)
        noise = take_noise(setup.device) if parts else None
        output_BK = model.finish(batch, model.encode(x_ND, batch))
        loss = task.compute_loss(output_BK, batch.target_B) * piece.loss
        tally.add(batch.task, loss)
        for part in parts:
            assert noise is not None
            labels = piece.loss / piece.rows
            context = Context(model, task, batch, x_ND, output_BK, noise, step, labels)
            penalty = part.penalty(context)
            if penalty is not None:
                tally.add_penalty(batch.task, part.kind, penalty * piece.rows)
                loss = loss + part.weight_of(batch.task) * piece.rows * penalty
    tally.tokens += len(batch.tokens.ids_N)
    return loss


@contextmanager
def _precision(encoder: Encoder, *, fp32: bool) -> Iterator[None]:
    """fp32 for a while: perturbations far below bf16's resolution would be lost in it."""
    before = encoder.precision
    encoder.precision = torch.float32 if fp32 else before
    try:
        yield
    finally:
        encoder.precision = before
