"""One look-ahead: what a step for each task alone would do to the loss of every task.

Fifty et al. 2021, "Efficiently Identifying Task Groupings for Multi-Task Learning", equation 1:

    Z_ij = 1 - L_j(X_j; theta - eta g_i, theta_j) / L_j(X_j; theta, theta_j)

theta is what tasks share, theta_j the head of task j, g_i the gradient of L_i in theta. Above 0 a
step for i helps j too, below 0 it harms it. In place of a fixed eta, every look-ahead has the same
length |eta g_i|: AdamW's steps, which training takes, do not grow with a loss's scale either.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trivium.errors import RecipeError
from trivium.model.multitask import MultiTaskModel
from trivium.parts.tasks import Task
from trivium.run.training.gradients import take_gradient
from trivium.run.training.pieces import Piece

LENGTH = 0.02
"""Of a look-ahead, in the Euclidean norm of all that is shared."""


def look_ahead(
    model: MultiTaskModel,
    tasks: Mapping[str, Task],
    drawn: Mapping[str, Sequence[Piece]],
    length: float = LENGTH,
) -> NDArray[np.float64]:
    """gain_TT[i, j] = Z_ij on one batch of every task, in the order of `drawn`.

    drawn: by task a batch in its pieces. Nothing is trained: weights are afterwards what they were,
    to the bit. A look-ahead is small, so it is computed without dropout (nothing is random) and in
    fp32. A row is 0 where a task's gradient vanishes. Raises RecipeError where a loss or a gradient
    is not finite: what is no number is not below 0 either, so it would seem to harm nobody.
    """
    shared = [one.parameter for one in model.shared_parameters() if one.parameter.requires_grad]
    names = list(drawn)
    gain_TT = np.zeros((len(names), len(names)))
    with _at_rest(model), _put_back(shared) as put_back:
        loss_T = _losses(model, tasks, drawn)
        _refuse_what_is_not_finite(names, loss_T)
        for i, name in enumerate(names):
            gradient = _gradient(model, shared, tasks[name], drawn[name])
            norm = _norm(gradient)
            if norm == 0:
                continue
            if not np.isfinite(norm):
                raise RecipeError(
                    f"affinity: {_before(f'the gradient of task {name!r} is as long as {norm}')}"
                )
            _descend(shared, gradient, length / norm)
            ahead_T = _losses(model, tasks, drawn)
            _refuse_what_is_not_finite(names, ahead_T, (name, length))
            # A loss of 0 has nothing to gain.
            gain_TT[i] = np.where(loss_T > 0, 1 - ahead_T / np.where(loss_T > 0, loss_T, 1), 0)
            put_back()
    return gain_TT


def _refuse_what_is_not_finite(
    names: Sequence[str], loss_T: NDArray[np.float64], step: tuple[str, float] | None = None
) -> None:
    """step: the task that it was for, and its length."""
    if np.isfinite(loss_T).all():
        return
    place = int(np.flatnonzero(~np.isfinite(loss_T))[0])
    what = f"the loss of task {names[place]!r} is {loss_T[place]}"
    if step is None:
        raise RecipeError(f"affinity: {_before(what)}")
    raise RecipeError(
        f"affinity: after a step of length {step[1]:g} for task {step[0]!r} {what}, of which no "
        f"gain can be told. Nothing was kept. Take a shorter --length (by default {LENGTH})."
    )


def _before(what: str) -> str:
    return (
        f"{what} before any look-ahead. Nothing was kept. Lower the learning rate of the stage, or "
        "see whether the task trains alone."
    )


def _descend(
    shared: Sequence[nn.Parameter], gradient: Sequence[Tensor | None], rate: float
) -> None:
    with torch.no_grad():
        for parameter, part in zip(shared, gradient, strict=True):
            if part is not None:
                parameter.sub_(part, alpha=rate)


def _losses(
    model: MultiTaskModel, tasks: Mapping[str, Task], drawn: Mapping[str, Sequence[Piece]]
) -> NDArray[np.float64]:
    with torch.no_grad():
        each = [
            sum(float(_loss(model, tasks[name], piece)) for piece in parts)
            for name, parts in drawn.items()
        ]
    return np.asarray(each)


def _loss(model: MultiTaskModel, task: Task, piece: Piece) -> Tensor:
    output_BK: Tensor = model(piece.batch)
    return task.compute_loss(output_BK, piece.batch.target_B) * piece.loss


def _gradient(
    model: MultiTaskModel, shared: Sequence[nn.Parameter], task: Task, parts: Sequence[Piece]
) -> list[Tensor | None]:
    for piece in parts:
        torch.autograd.backward(_loss(model, task, piece))
    taken = take_gradient(shared)
    model.zero_grad()  # of heads
    return taken


def _norm(gradient: Sequence[Tensor | None]) -> float:
    squares = [float(part.double().square().sum()) for part in gradient if part is not None]
    return float(np.sqrt(sum(squares)))


@contextmanager
def _at_rest(model: MultiTaskModel) -> Iterator[None]:
    """Without dropout and in fp32; modes are then put back."""
    training = [(module, module.training) for module in model.modules()]
    precision = model.encoder.precision
    model.eval()
    model.encoder.precision = torch.float32
    try:
        yield
    finally:
        model.encoder.precision = precision
        for module, mode in training:
            module.training = mode


@contextmanager
def _put_back(shared: Sequence[nn.Parameter]) -> Iterator[Callable[[], None]]:
    """A function that puts the weights back; they are put back at the end, too."""
    before = [parameter.detach().clone() for parameter in shared]

    def put_back() -> None:
        with torch.no_grad():
            for parameter, old in zip(shared, before, strict=True):
                parameter.copy_(old)

    try:
        yield put_back
    finally:
        put_back()
