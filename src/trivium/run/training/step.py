"""One step of training: from batches to new weights."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from trivium.errors import RecipeError
from trivium.model.native import adamw as native
from trivium.model.ownership import is_adapter_parameter
from trivium.parts.regularizers import skipped_key
from trivium.recipe import Stage
from trivium.run.training.ahead import Later, Owed, may_run_ahead, passes_once
from trivium.run.training.at_once import are_whole, run_whole
from trivium.run.training.averaged import follow
from trivium.run.training.batches import mean_of, recorded, run_batches, trained, words_by_rows
from trivium.run.training.gradients import (
    Apart,
    Gradient,
    cosines,
    gram_by_group,
    gram_by_parameter,
    set_weighted_sum,
)
from trivium.run.training.parameters import place_of, stage_parameters
from trivium.run.training.plan import Plan
from trivium.run.training.resting import keeping, set_modes
from trivium.run.training.state import TrainState
from trivium.run.training.tally import Tally
from trivium.run.training.work import Setup
from trivium.types import Step


def train_step(setup: Setup, stage: Stage, plan: Plan, state: TrainState) -> dict[str, Any] | Later:
    """One optimizer step; what the journal says of it, or on a GPU will."""
    step = _begin(setup, stage, plan, state)
    measures = plan.measures_conflicts(step.index)
    apart = Apart.of(state.model) if stage.combiner.needs_gram or measures else None
    ahead = may_run_ahead(setup, stage, apart)
    if ahead and are_whole(setup, stage, plan, state):
        tally, owed, seldom = run_whole(setup, stage, plan, state, step)
        _follow(stage, state, step, tally)
        always = partial(_always_told, tally, state.lr_factor)
        return _told_later(stage, step, owed, seldom | _seldom_told(stage, step, tally, {}), always)
    replays = ahead or passes_once(setup, stage, apart)
    with words_by_rows(setup, state), recorded(setup, state, wanted=replays), keeping(state):
        tally = run_batches(setup, stage, plan, state, step, apart=apart)
    facts: dict[str, Any] = {}
    if apart:
        facts |= _combine(setup, stage, apart, step, by_layer=measures)
        _mean_of_the_rest(setup, state, apart)
    facts |= _pulls(setup, stage, state, step)
    norm = _clip(stage, state)
    always = partial(_always_told, tally, state.lr_factor)
    if ahead:
        _update(stage, state, step, tally)
        seldom = facts | _seldom_told(stage, step, tally, {})
        return _told_later(stage, step, _owed(tally, norm), seldom, always)
    losses, penalties = tally.means(setup.processes)
    _refuse_what_is_not_finite(stage, step, losses, float(norm))
    _update(stage, state, step, tally)
    stage.combiner.observe(losses, step)
    facts |= _seldom_told(stage, step, tally, penalties)
    return facts | always(losses, float(norm))


# --- the parts of a step -----------------------------------------------------------------------


def _begin(setup: Setup, stage: Stage, plan: Plan, state: TrainState) -> Step:
    """Modes, learning rates and trained parameters of this step."""
    index, model = state.counters.step, state.model
    set_modes(setup.recipe, stage, model)
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
    _mean_over_processes(setup, [p for p in trained(state) if id(p) not in done])


def _pulls(setup: Setup, stage: Stage, state: TrainState, step: Step) -> dict[str, Any]:
    """What regularizers that are about weights make of the gradients; for the journal."""
    pulls = {
        part.kind: part.pull(state.model, setup.start.weights, step)
        for part in stage.regularizers
        if part.about_weights
    }
    return {"pulls": pulls} if pulls else {}


def _clip(stage: Stage, state: TrainState) -> float | Tensor:
    """Gradients held to the stage's norm; the norm that they had, which on a GPU nobody waits
    for."""
    most = stage.clip or math.inf
    if isinstance(state.optimizer, native.AdamW):
        return state.optimizer.clip(most)
    return nn.utils.clip_grad_norm_(trained(state), most)


def _update(stage: Stage, state: TrainState, step: Step, tally: Tally) -> None:
    """New weights, and all that follows them."""
    state.optimizer.step()
    state.optimizer.zero_grad()
    for part in stage.regularizers:
        part.after_step(state.model, step)
    _follow(stage, state, step, tally)


def _follow(stage: Stage, state: TrainState, step: Step, tally: Tally) -> None:
    follow(stage.average, state, step)
    state.counters.rows += tally.rows
    state.counters.tokens += tally.tokens


def _refuse_what_is_not_finite(
    stage: Stage, step: Step, losses: dict[str, float], norm: float
) -> None:
    if not all(math.isfinite(loss) for loss in (*losses.values(), norm)):
        raise RecipeError(
            f"stage {stage.name!r}, step {step.index + 1}: the loss or its gradient is not finite "
            f"({losses}, norm {norm}). Lower the learning rate, or set `precision: fp32`."
        )


def _always_told(tally: Tally, lr: float, losses: dict[str, float], norm: float) -> dict[str, Any]:
    """What the journal says of every step."""
    return {"losses": losses, "lr": lr, "norm": norm, "rows": tally.rows, "tokens": tally.tokens}


def _owed(tally: Tally, norm: float | Tensor) -> Owed:
    """What a step's tally and its gradient's norm amount to."""
    there = torch.stack(
        [n.detach().double() for n in (*tally.mean_losses(), torch.as_tensor(norm))]
    )
    return Owed(there, lambda numbers: dict(zip(tally.losses, numbers, strict=False)))


def _told_later(
    stage: Stage,
    step: Step,
    owed: Owed,
    seldom: dict[str, Any],
    always: Callable[[dict[str, float], float], dict[str, Any]],
) -> Later:
    """All that the journal says, when the device has got there."""

    def facts(numbers: list[float]) -> dict[str, Any]:
        losses, norm = owed.losses(numbers), numbers[-1]
        _refuse_what_is_not_finite(stage, step, losses, norm)
        return seldom | always(losses, norm)

    return Later(owed.there, facts)


def _seldom_told(
    stage: Stage, step: Step, tally: Tally, penalties: dict[str, dict[str, float]]
) -> dict[str, Any]:
    """What the journal says of a step only where there is anything to say."""
    facts: dict[str, Any] = {}
    if any(factor != 1.0 for factor in tally.factors.values()):
        facts["factors"] = tally.factors
    if penalties:
        facts["penalties"] = penalties
    counts = {part.kind: step.memory.get(skipped_key(part.kind)) for part in stage.regularizers}
    if skipped := {kind: int(count) for kind, count in counts.items() if count is not None}:
        facts["skipped"] = skipped
    return facts


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
    mean_of(setup).all_(full)
