"""A piece's part of its batch's loss, with the penalties of the stage's regularizers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from trivium.model.encoder import Encoder
from trivium.parts.regularizers import AnyRegularizer, Context, Noise, take_noise
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
    parts = penalties_on(stage, batch.task)
    with _precision(model.encoder, fp32=any(part.needs_fp32 for part in parts)):
        clean, output_BK = _clean_pass(setup, batch, repeated=bool(parts))
        told = _told_loss(setup, piece, output_BK)
        loss = _counted(setup, piece, told, tally)
        for part in parts:
            assert clean is not None
            context = Context(
                model, task, batch, clean.x_ND, output_BK, clean.noise, step,
                _label_loss(setup, piece, output_BK, told), tuple(parts),
            )  # fmt: skip
            penalty = part.penalty(context)
            if penalty is not None:
                tally.add_penalty(batch.task, part.kind, penalty * piece.rows)
                loss = loss + part.weight_of(batch.task) * piece.rows * penalty
    return loss


def penalties_on(stage: Stage, task: str) -> list[AnyRegularizer]:
    """The stage's regularizers that are about the rows of a task."""
    return [part for part in stage.regularizers if part.applies(task) and not part.about_weights]


def plain_loss(setup: Setup, piece: Piece, output_BK: Tensor, tally: Tally) -> Tensor:
    """The same without penalties, of the model's outputs."""
    return _counted(setup, piece, _told_loss(setup, piece, output_BK), tally)


def _told_loss(setup: Setup, piece: Piece, output_BK: Tensor) -> Tensor:
    """The piece's part of the batch's loss; where rows are compared over processes, all of it."""
    task = setup.recipe.tasks[piece.batch.task]
    if piece.whole_B is None:
        return task.compute_loss(output_BK, piece.batch.target_B) * piece.loss
    return compared_loss(setup.processes, task, output_BK, piece.whole_B)


def _counted(setup: Setup, piece: Piece, told: Tensor, tally: Tally) -> Tensor:
    """A loss counted in the tally, for its gradient."""
    tally.add(piece.batch.task, told)
    tally.tokens += len(piece.batch.tokens.ids_N)
    # Of a comparison every process has the whole loss, but its own rows' part of the gradient
    # alone; of which the mean over processes is taken, where their sum is meant.
    return told if piece.whole_B is None else told * setup.processes.world


def _label_loss(
    setup: Setup, piece: Piece, clean_BK: Tensor, clean: Tensor
) -> Callable[[Tensor], Tensor]:
    """`Context.label_loss`. clean: the told loss of the piece's own pass."""
    task, world = setup.recipe.tasks[piece.batch.task], setup.processes.world

    def alone(output_BK: Tensor) -> Tensor:
        return task.compute_loss(output_BK, piece.batch.target_B) * (piece.loss / piece.rows)

    def compared(output_BK: Tensor) -> Tensor:
        told = clean if output_BK is clean_BK else _told_loss(setup, piece, output_BK)
        # The gradient is that of `_counted`, the value is not: penalties are told as they are.
        return (told + (world - 1) * (told - told.detach())) / piece.rows

    return alone if piece.whole_B is None else compared


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
