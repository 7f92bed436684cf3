"""One step of training: from batches to new weights."""

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from trivium.errors import RecipeError
from trivium.model.native import adamw as native
from trivium.model.ownership import is_adapter_parameter
from trivium.recipe import Stage
from trivium.run.training.averaged import follow
from trivium.run.training.buckets import Mean, reached
from trivium.run.training.gradients import (
    Apart,
    Gradient,
    cosines,
    gram_by_group,
    gram_by_parameter,
    set_weighted_sum,
)
from trivium.run.training.loss import compared_loss, piece_loss
from trivium.run.training.parameters import place_of, stage_parameters
from trivium.run.training.pieces import TOKENS_AT_ONCE, Rows, compared_targets, pieces
from trivium.run.training.plan import Plan
from trivium.run.training.state import TrainState
from trivium.run.training.tally import Tally
from trivium.run.training.work import Setup
from trivium.types import Step


def train_step(setup: Setup, stage: Stage, plan: Plan, state: TrainState) -> dict[str, Any]:
    """One optimizer step; what the journal says of it."""
    step = _begin(setup, stage, plan, state)
    measures = plan.measures_conflicts(step.index)
    apart = Apart.of(state.model) if stage.combiner.needs_gram or measures else None
    with _words_by_rows(setup, state):
        tally = _run_batches(setup, stage, plan, state, step, apart=apart)
    facts: dict[str, Any] = {}
    if apart:
        facts |= _combine(setup, stage, apart, step, by_layer=measures)
        _mean_of_the_rest(setup, state, apart)
    facts |= _pulls(setup, stage, state, step)
    norm = _clip(stage, state)
    losses, penalties = tally.means(setup.processes)
    _refuse_what_is_not_finite(stage, step, losses, norm)
    state.optimizer.step()
    state.optimizer.zero_grad()
    stage.combiner.observe(losses, step)
    for part in stage.regularizers:
        part.after_step(state.model, step)
    follow(stage.average, state, step)
    state.counters.rows += tally.rows
    state.counters.tokens += tally.tokens
    facts |= _seldom_told(step, tally, penalties)
    return facts | {
        "losses": losses, "lr": state.lr_factor, "norm": norm,
        "rows": tally.rows, "tokens": tally.tokens,
    }  # fmt: skip


# --- the parts of a step -----------------------------------------------------------------------


def _begin(setup: Setup, stage: Stage, plan: Plan, state: TrainState) -> Step:
    """Modes, learning rates and trained parameters of this step."""
    index, model = state.counters.step, state.model
    model.train()
    rests = not (stage.trains.trains_any or setup.recipe.adapters)
    model.encoder.train(not rests)  # an encoder that learns nothing runs without dropout
    epoch = min(index // plan.steps_per_epoch, plan.epochs - 1) + 1
    state.lr_factor = stage.schedule.factor(index, plan.steps, epoch)
    for group in state.optimizer.param_groups:
        group["lr"] = group["base_lr"] * state.lr_factor
    if stage.trains.changes:
        layers = model.encoder.config.num_hidden_layers
        encoder, _ = stage_parameters(setup.recipe, model, stage)
        # `gradual` thaws by epochs: the optimizer has held all that will ever learn from the start.
        for name, parameter in encoder:
            done = plan.epochs_done(index)
            learns = is_adapter_parameter(name) or stage.trains.trains(name, layers, done)
            parameter.requires_grad_(learns)
    return Step(
        index, plan.steps, epoch, plan.epochs, state.decisions, state.memory,
        steps_per_epoch=plan.steps_per_epoch,
    )  # fmt: skip


@contextmanager
def _words_by_rows(setup: Setup, state: TrainState) -> Iterator[None]:
    """Inside, an optimizer that can do so has the word embedding read row by row."""
    optimizer, embeddings = state.optimizer, state.model.encoder.embeddings
    weight = embeddings.word_embeddings.weight
    # Averages over processes are of whole matrices.
    alone = setup.processes.world == 1
    if alone and weight.requires_grad and isinstance(optimizer, native.AdamW):
        embeddings.rows = optimizer.rows_of(weight)
    try:
        yield
    finally:
        embeddings.rows = None


class _Drawn(NamedTuple):
    """A batch of a step."""

    task: str
    rows: Rows
    scale: float
    """Factor on its loss."""
    is_last: bool


def _run_batches(
    setup: Setup, stage: Stage, plan: Plan, state: TrainState, step: Step, *, apart: Apart | None
) -> Tally:
    """Forward and backward of the step's batches: gradients are in `.grad`, averaged over
    processes, or those of what tasks share in `apart` if it is given, and not averaged."""
    tally = Tally()
    for left in reversed(range(stage.batches_per_step)):
        names = [plan.tasks[t] for t in stage.sampler.draw(list(plan.rows.values()), step)]
        for place, name in enumerate(names, 1):
            rows, factor = state.streams[name].draw(), stage.combiner.factor(name, step)
            scale = plan.weights[name] * factor / stage.batches_per_step
            tally.begin(name, len(rows), factor, setup.device)
            drawn = _Drawn(name, rows, scale, is_last=not left and place == len(names))
            _run_batch(setup, stage, None if apart else state, drawn, (step, tally))
            if apart:  # one task's graph at a time; heads keep their gradients in `.grad`
                apart.take(name)
    return tally


def _run_batch(
    setup: Setup,
    stage: Stage,
    sums: TrainState | None,
    drawn: _Drawn,
    told: tuple[Step, Tally],
) -> None:
    """Add a batch's gradient to `.grad`.

    sums: where `.grad` is the step's whole gradient, whose parameters it is of; it is then averaged
    over processes with the last batch.
    """
    limit = stage.tokens_at_once or TOKENS_AT_ONCE[setup.device.type]
    encoded, loss = setup.encoded[drawn.task], None
    share = pieces(encoded, drawn.rows, limit, setup.processes, setup.device)
    for piece in share[:-1]:
        torch.autograd.backward(piece_loss(setup, stage, piece, *told) * drawn.scale)
    if share:
        loss = piece_loss(setup, stage, share[-1], *told) * drawn.scale
    else:
        _hear_others(setup, drawn.task, drawn.rows, told[1])
    with _sent_meanwhile(setup, sums, loss) if sums and drawn.is_last else nullcontext():
        if loss is not None:
            torch.autograd.backward(loss)


@contextmanager
def _sent_meanwhile(setup: Setup, state: TrainState, loss: Tensor | None) -> Iterator[None]:
    """Averages over processes what one last backward pass inside leaves, while it goes on.

    loss: of which it is, None where this process has no row of the batch.
    """
    if setup.processes.world == 1:
        yield
        return
    trained = _trained(state)
    ours = reached(loss) if loss is not None else set()
    there = setup.processes.agree(*(p.grad is not None or id(p) in ours for p in trained))
    sent = [p for p, is_there in zip(trained, there, strict=True) if is_there]
    with _mean(setup).meanwhile(sent, ours):
        yield


def _hear_others(setup: Setup, name: str, rows: Rows, tally: Tally) -> None:
    """Of a batch without a row for this process: the others may compare theirs, and wait for it."""
    encoded, processes = setup.encoded[name], setup.processes
    whole_B = compared_targets(encoded, rows, processes, setup.device)
    if whole_B is not None:
        outputs = encoded.task.outputs_beside(setup.model.encoder.config.hidden_size)
        none_BK = torch.zeros(0, outputs, device=setup.device)
        tally.add(name, compared_loss(processes, encoded.task, none_BK, whole_B))


def _combine(
    setup: Setup, stage: Stage, apart: Apart, step: Step, *, by_layer: bool
) -> dict[str, Any]:
    """Leave the combiner's update in the shared parameters' `.grad`; the cosines, for the journal.

    by_layer: whether those of each layer are wanted too.
    """
    names, gradients = list(apart.gradients), list(apart.gradients.values())
    for gradient in gradients:
        _mean_over_processes(setup, apart.parameters, gradient)
    gram_PTT = gram_by_parameter(gradients)
    gram_TT = gram_PTT.sum(0)
    # A task that reaches nothing shared is no party: it must not be taken for one at rest.
    present = [t for t, g in enumerate(gradients) if any(p is not None for p in g)]
    weight_T = torch.ones(len(names), dtype=gram_TT.dtype)
    if present:
        parties = replace(step, tasks=tuple(names[t] for t in present))
        weight_T[present] = stage.combiner.weigh(gram_TT[present][:, present], parties)
    set_weighted_sum(apart.parameters, apart.gradients, weight_T)
    facts: dict[str, Any] = {"cosines": cosines(gram_TT, names)}
    if by_layer:
        layers = setup.model.encoder.config.num_hidden_layers
        groups = gram_by_group(gram_PTT, [place_of(shared, layers) for shared in apart.shared])
        facts["layer_cosines"] = {place: cosines(gram, names) for place, gram in groups.items()}
    return facts


def _mean_of_the_rest(setup: Setup, state: TrainState, apart: Apart) -> None:
    """Gradients averaged over processes, but those that were kept apart and so are averages."""
    done = {id(parameter) for parameter in apart.parameters}
    _mean_over_processes(setup, [p for p in _trained(state) if id(p) not in done])


def _pulls(setup: Setup, stage: Stage, state: TrainState, step: Step) -> dict[str, Any]:
    """What regularizers that are about weights make of the gradients; for the journal."""
    pulls = {
        part.kind: part.pull(state.model, setup.start.weights, step)
        for part in stage.regularizers
        if part.about_weights
    }
    return {"pulls": pulls} if pulls else {}


def _clip(stage: Stage, state: TrainState) -> float:
    """Gradients held to the stage's norm; the norm that they had."""
    most = stage.clip or math.inf
    if isinstance(state.optimizer, native.AdamW):
        return state.optimizer.clip(most)
    return float(nn.utils.clip_grad_norm_(_trained(state), most))


def _trained(state: TrainState) -> list[nn.Parameter]:
    return [p for group in state.optimizer.param_groups for p in group["params"]]


def _refuse_what_is_not_finite(
    stage: Stage, step: Step, losses: dict[str, float], norm: float
) -> None:
    if not all(math.isfinite(loss) for loss in (*losses.values(), norm)):
        raise RecipeError(
            f"stage {stage.name!r}, step {step.index + 1}: the loss or its gradient is not finite "
            f"({losses}, norm {norm}). Lower the learning rate, or set `precision: fp32`."
        )


def _seldom_told(
    step: Step, tally: Tally, penalties: dict[str, dict[str, float]]
) -> dict[str, Any]:
    """What the journal says of a step only where there is anything to say."""
    facts: dict[str, Any] = {}
    if any(factor != 1.0 for factor in tally.factors.values()):
        facts["factors"] = tally.factors
    if penalties:
        facts["penalties"] = penalties
    # Regularizers count the batches that went without their penalty under `<kind>.skipped`.
    skipped = {k.split(".")[0]: int(n) for k, n in step.memory.items() if k.endswith(".skipped")}
    if skipped:
        facts["skipped"] = skipped
    return facts


def _mean(setup: Setup) -> Mean:
    kind = torch.bfloat16 if setup.recipe.allreduce == "bf16" else torch.float32
    return Mean(setup.processes, kind)


def _mean_over_processes(
    setup: Setup,
    parameters: list[nn.Parameter],
    gradient: list[Tensor | None] | None = None,
) -> None:
    """Each parameter's gradient, or those of `gradient`, averaged in place.

    A process whose share of a batch was empty has none where others have one: zero, that is.
    """
    if setup.processes.world == 1:
        return
    parts: Gradient = [p.grad for p in parameters] if gradient is None else gradient
    there = setup.processes.agree(*(part is not None for part in parts))
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
    _mean(setup).all_(full)
