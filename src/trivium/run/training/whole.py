"""Whole steps on a GPU as recorded graphs: one for each form of a batch, and one for the update.

A batch's graph holds all from its word pieces to the gradients, which it adds to those of the
step's batches before. So a step is a copy of numbers and a launch for each batch, a copy of the
learning rates, and a launch for the update. Batches are filled up to sizes, as in `model.graphs`,
whether or not a graph does them: so a step has the same bits in a run that was resumed, and has
recorded nothing yet.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch.autograd.graph import increment_version

from trivium.model.copies import Renewed
from trivium.model.encoder import Encoder
from trivium.model.multitask import MultiTaskModel
from trivium.model.replays import Record, Recorder, Replays
from trivium.parts.tasks import Task
from trivium.run.training.inputs import Form, Inputs, to_device
from trivium.run.training.pieces import Piece
from trivium.run.training.update import Places, Update


class WholeSteps:
    """Of one stage."""

    def __init__(
        self,
        model: MultiTaskModel,
        tasks: Mapping[str, Task],
        optimizer: torch.optim.AdamW,
        *,
        clip: float | None,
        record: Record | None,
    ) -> None:
        """tasks: the stage's; record: None where graphs are left out, and all is as if not."""
        self._model, self._tasks, self._optimizer, self._clip = model, tasks, optimizer, clip
        self._read = list(model.parameters())
        self.recorder = Recorder(record)
        self._places = self._fresh()
        self._drawn: dict[str, int] = {}
        self._stamp: tuple[object, ...] = ()

    @property
    def failure(self) -> str:
        """Why something could not be recorded, in words."""
        return self.recorder.failure

    @property
    def recorded(self) -> tuple[int, int]:
        """How many graphs there are by now: of batches, and of updates."""
        return self._batches.recorded, self._updates.recorded

    @property
    def report(self) -> torch.Tensor:
        """What `losses` is made of, and last the gradient's norm, after the update: fp64, on the
        device, until the next update."""
        return self._places.report

    def begin(self) -> None:
        """Before a step's first batch."""
        self._drawn.clear()
        copies = self._places.copies
        if copies is not None and copies.are_made:
            copies.renew()
        if self._stamp and self._stamp != self._addresses():
            self._places, self._stamp = self._fresh(), ()

    def add(self, pieces: Sequence[Piece], scale: float) -> None:
        """One more batch, in pieces that are on the CPU. scale: factor on its loss."""
        for piece in pieces:
            form = Form.of(piece.batch)
            self._batches[form].inputs.fill(piece, scale)
            self._batches.run(form)
        task = pieces[0].batch.task
        self._drawn[task] = self._drawn.get(task, 0) + 1

    def update(self) -> None:
        """New weights, of the step's batches."""
        key, places = frozenset(self._drawn), self._places
        if not self._updates[key].is_current:
            self._updates.forget(key)
        if places.copies is not None and not places.copies.addresses:
            places.copies.renew()  # after the first step's batches, which have made them
        to_device([group["lr"] for group in self._optimizer.param_groups], places.rates)
        self._updates.run(key)
        # Neither a graph nor the fused kernel counts what it has changed.
        increment_version(self._updates[key].parameters)
        if places.copies is not None:
            places.copies.count()
        self._stamp = self._stamp or self._addresses()

    def losses(self) -> Callable[[Sequence[float]], dict[str, float]]:
        """From the step's report its mean loss of each task, in the order of their batches."""
        drawn, index = dict(self._drawn), {name: i for i, name in enumerate(self._tasks)}
        return lambda report: {name: report[index[name]] / n for name, n in drawn.items()}

    def _fresh(self) -> Places:
        places = Places.of(
            self._optimizer,
            len(self._tasks),
            clip=self._clip,
            copies=_low_copies(self._model.encoder),
        )
        # Of the places alone: what would know of this object would keep graphs beyond their time.
        model, tasks = self._model, self._tasks
        self._batches = Replays(partial(BatchPass, model, tasks, places), self.recorder)
        self._updates = Replays(partial(Update, places), self.recorder)
        return places

    def _addresses(self) -> tuple[object, ...]:
        """What graphs know, and who else might change."""
        copies = self._places.copies
        return (
            *((p.data_ptr(), p.requires_grad) for p in self._read),
            *(copies.addresses if copies is not None else ()),
        )


def _low_copies(encoder: Encoder) -> Renewed | None:
    """Of the layers' parameters, if they are read and change."""
    if encoder.precision == torch.float32:
        return None
    layers = encoder.recorded()
    return layers.copies if any(p.requires_grad for p in layers.parameters) else None


class BatchPass:
    """A batch of one form through the model and back."""

    def __init__(
        self, model: MultiTaskModel, tasks: Mapping[str, Task], places: Places, form: Form
    ) -> None:
        self._model, self._task, self._places = model, tasks[form.task], places
        self._index = list(tasks).index(form.task)
        self.inputs = Inputs(form, places.sums.device)

    def run(self) -> None:
        inputs, places, encoder = self.inputs, self._places, self._model.encoder
        batch, changed = inputs.batch, list(self._places.gradients)
        with torch.enable_grad():
            x_ND = encoder.embed(batch.tokens)
            groups = inputs.form.size.layout(batch.tokens.lengths_R)
            hidden_ND = encoder.encode(x_ND, batch.tokens, batch.task, groups)
            output_BK = self._model.finish(batch, hidden_ND)
            told = self._task.compute_loss(output_BK, batch.target_B) * inputs.loss
            found = torch.autograd.grad(told * inputs.scale, changed, allow_unused=True)
        there = {p: grad for p, grad in zip(changed, found, strict=True) if grad is not None}
        places.reached[batch.task] = list(there)
        with torch.no_grad():
            torch._foreach_add_([places.gradients[p] for p in there], list(there.values()))
            places.sums[self._index].add_(told.detach())
