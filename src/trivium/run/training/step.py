"""One step of training: from batches to new weights."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from trivium.errors import RecipeError
from trivium.model.encoder import Encoder
from trivium.model.lora import is_adapter_parameter
from trivium.parts.regularizers import Context, take_noise
from trivium.recipe import Stage
from trivium.run.training.distributed import Processes
from trivium.run.training.gradients import (
    Gradient,
    add_gradient,
    cosines,
    gram_by_group,
    gram_by_parameter,
    set_weighted_sum,
    take_gradient,
)
from trivium.run.training.parameters import shared_parameters, stage_parameters
from trivium.run.training.pieces import TOKENS_AT_ONCE, Piece, pieces
from trivium.run.training.plan import Plan
from trivium.run.training.state import TrainState
from trivium.run.training.work import Setup
from trivium.types import Step


def train_step(setup: Setup, stage: Stage, plan: Plan, state: TrainState) -> dict[str, Any]:
    """One optimizer step; what the journal says of it."""
    index, model, processes = state.counters.step, state.model, setup.processes
    step = _begin(setup, stage, plan, state)
    shared, groups = shared_parameters(model)
    measures = plan.measures_conflicts(index)
    apart = stage.combiner.needs_gram or measures
    gradients: dict[str, list[Tensor | None]] = {}
    factors: dict[str, float] = {}
    seen = _Seen()
    for _ in range(stage.batches_per_step):
        for name in [plan.tasks[t] for t in stage.sampler.draw(list(plan.rows.values()), step)]:
            rows = state.streams[name].draw()
            factors[name] = stage.combiner.factor(name, step)
            scale = plan.weights[name] * factors[name] / stage.batches_per_step
            seen.rows += len(rows)
            seen.begin(name, torch.zeros((), device=setup.device))
            limit = stage.tokens_at_once or TOKENS_AT_ONCE[setup.device.type]
            for piece in pieces(setup.encoded[name], rows, limit, processes, setup.device):
                torch.autograd.backward(_loss(setup, stage, piece, step, seen) * scale)
            if apart:  # one task's graph at a time; heads keep their gradients in `.grad`
                add_gradient(gradients, name, take_gradient(shared))
    told: dict[str, Any] = {}
    if apart:
        for gradient in gradients.values():
            _mean_over_processes(processes, shared, gradient)
        told |= _combine(stage, shared, gradients, step, groups if measures else None)
    done = {id(parameter) for parameter in shared} if apart else set()
    trained = [p for group in state.optimizer.param_groups for p in group["params"]]
    _mean_over_processes(processes, [p for p in trained if id(p) not in done])
    norm = float(nn.utils.clip_grad_norm_(trained, stage.clip or math.inf))
    losses, penalties = seen.means(processes)
    if not all(math.isfinite(loss) for loss in (*losses.values(), norm)):
        raise RecipeError(
            f"stage {stage.name!r}, step {index + 1}: the loss or its gradient is not finite "
            f"({losses}, norm {norm}). Lower the learning rate, or set `precision: fp32`."
        )
    state.optimizer.step()
    state.optimizer.zero_grad()
    stage.combiner.observe(losses, step)
    for part in stage.regularizers:
        part.after_step(model, step)
    state.counters.rows += seen.rows
    state.counters.tokens += seen.tokens
    if any(factor != 1.0 for factor in factors.values()):
        told["factors"] = factors
    if penalties:
        told["penalties"] = penalties
    skipped = {k.split(".")[0]: int(n) for k, n in step.memory.items() if k.endswith(".skipped")}
    if skipped:
        told["skipped"] = skipped
    return told | {
        "losses": losses, "lr": state.lr_factor, "norm": norm,
        "rows": seen.rows, "tokens": seen.tokens,
    }  # fmt: skip


# --- the parts of a step -----------------------------------------------------------------------
def _begin(setup: Setup, stage: Stage, plan: Plan, state: TrainState) -> Step:
    """Modes, learning rates and trained parameters of this step."""
    index, model = state.counters.step, state.model
    model.train()
    rests = stage.trains.kind == "frozen" and not setup.recipe.adapters
    model.encoder.train(not rests)  # an encoder that learns nothing runs without dropout
    epoch = min(index // plan.steps_per_epoch, plan.epochs - 1) + 1
    state.lr_factor = stage.schedule.factor(index, plan.steps, epoch)
    for group in state.optimizer.param_groups:
        group["lr"] = group["base_lr"] * state.lr_factor
    if stage.trains.changes:
        layers = model.encoder.config.num_hidden_layers
        encoder, _ = stage_parameters(setup.recipe, model, stage)
        for name, parameter in encoder:
            done = plan.epochs_done(index)
            learns = is_adapter_parameter(name) or stage.trains.trains(name, layers, done)
            parameter.requires_grad_(learns)
    return Step(
        index, plan.steps, epoch, plan.epochs, state.decisions, state.memory,
        steps_per_epoch=plan.steps_per_epoch,
    )  # fmt: skip


def _combine(
    stage: Stage,
    shared: list[nn.Parameter],
    gradients: dict[str, list[Tensor | None]],
    step: Step,
    groups: list[str] | None,
) -> dict[str, Any]:
    """Leave the combiner's update in the shared parameters' `.grad`; the cosines, for the journal.

    groups: where each parameter is, if the cosines by layer are wanted too.
    """
    names = list(gradients)
    gram_PTT = gram_by_parameter(list(gradients.values()))
    gram_TT = gram_PTT.sum(0)
    # A task that reaches nothing shared is no party: it must not be taken for one at rest.
    present = [t for t, g in enumerate(gradients.values()) if any(p is not None for p in g)]
    weight_T = torch.ones(len(names), dtype=gram_TT.dtype)
    if present:
        parties = replace(step, tasks=tuple(names[t] for t in present))
        weight_T[present] = stage.combiner.weigh(gram_TT[present][:, present], parties)
    set_weighted_sum(shared, gradients, weight_T)
    told: dict[str, Any] = {"cosines": cosines(gram_TT, names)}
    if groups is not None:
        each = gram_by_group(gram_PTT, groups)
        told["layer_cosines"] = {group: cosines(gram, names) for group, gram in each.items()}
    return told


@dataclass
class _Seen:
    """What a step's batches amount to."""

    losses: dict[str, list[Tensor]] = field(default_factory=dict)
    penalties: dict[str, dict[str, list[Tensor]]] = field(default_factory=dict)
    """task -> kind of regularizer -> unweighted penalties."""
    rows: int = 0
    tokens: int = 0
    _penalised: set[str] = field(default_factory=set)
    """Kinds of regularizer that have said something of the present batch."""

    def begin(self, task: str, zero: Tensor) -> None:
        """A new batch, of which nothing is known yet."""
        self.losses.setdefault(task, []).append(zero)
        self._penalised.clear()

    def add(self, task: str, loss: Tensor) -> None:
        """One more part of the batch's loss."""
        self.losses[task][-1] = self.losses[task][-1] + loss.detach()

    def add_penalty(self, task: str, kind: str, penalty: Tensor) -> None:
        """One more part of a penalty of the batch."""
        each = self.penalties.setdefault(task, {}).setdefault(kind, [])
        if kind in self._penalised:
            each[-1] = each[-1] + penalty.detach()
        else:
            each.append(penalty.detach())
            self._penalised.add(kind)

    def means(self, processes: Processes) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
        """Mean loss of each task over its batches; of the penalties, this process's own."""
        mean_T = torch.stack([torch.stack(each).mean() for each in self.losses.values()])
        tokens = torch.tensor([self.tokens], device=mean_T.device).double()
        processes.mean_([mean_T])
        processes.mean_([tokens])
        self.tokens = round(float(tokens) * processes.world)
        losses = dict(zip(self.losses, mean_T.tolist(), strict=True))
        penalties = {
            name: {kind: float(torch.stack(each).mean()) for kind, each in kinds.items()}
            for name, kinds in self.penalties.items()
        }
        return losses, penalties


def _loss(setup: Setup, stage: Stage, piece: Piece, step: Step, seen: _Seen) -> Tensor:
    """The piece's part of the batch's loss, with its penalties."""
    model, batch = setup.model, piece.batch
    task = setup.recipe.tasks[batch.task]
    parts = [part for part in stage.regularizers if part.applies(batch.task)]
    with _precision(model.encoder, fp32=any(part.needs_fp32 for part in parts)):
        x_ND = model.encoder.embed(batch.tokens)
        noise = take_noise(setup.device) if parts else None
        hidden_ND = model.encoder.encode(x_ND, batch.tokens, batch.task)
        output_BK = model.finish(batch, hidden_ND)
        loss = task.compute_loss(output_BK, batch.target_B) * piece.loss
        seen.add(batch.task, loss)
        for part in parts:
            assert noise is not None
            labels = piece.loss / piece.rows
            context = Context(model, task, batch, x_ND, output_BK, noise, step, labels)
            penalty = part.penalty(context)
            if penalty is not None:
                seen.add_penalty(batch.task, part.kind, penalty * piece.rows)
                loss = loss + part.weight_of(batch.task) * piece.rows * penalty
    seen.tokens += len(batch.tokens.ids_N)
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


def _mean_over_processes(
    processes: Processes,
    parameters: list[nn.Parameter],
    gradient: list[Tensor | None] | None = None,
) -> None:
    """Each parameter's gradient, or those of `gradient`, averaged in place.

    A process whose share of a batch was empty has none where others have one: zero, that is.
    """
    if processes.world == 1:
        return
    parts: Gradient = [p.grad for p in parameters] if gradient is None else gradient
    there = processes.agree(*(part is not None for part in parts))
    full: list[Tensor] = []
    for index, parameter in enumerate(parameters):
        if not there[index]:
            continue
        part = parts[index]
        part = torch.zeros_like(parameter) if part is None else part
        full.append(part)
        if gradient is None:
            parameter.grad = part
        else:
            gradient[index] = part
    processes.mean_(full)
