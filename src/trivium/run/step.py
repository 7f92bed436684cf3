"""One stage's machinery: what it starts from, and its step from batches to new weights."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trivium.errors import RecipeError
from trivium.model.multitask import MultiTaskModel
from trivium.recipe import Recipe, Stage
from trivium.run.data import Encoded
from trivium.run.gradients import (
    add_gradient,
    cosines,
    gram_matrix,
    set_weighted_sum,
    take_gradient,
)
from trivium.run.plan import Plan
from trivium.run.state import Counters, TrainState
from trivium.text.streams import Stream
from trivium.types import Step


@dataclass(frozen=True, slots=True)
class Setup:
    """What stays the same during training."""

    recipe: Recipe
    encoded: dict[str, Encoded]
    """Training rows of every task."""
    model: MultiTaskModel
    device: torch.device


def start_stage(setup: Setup, stage: Stage, plan: Plan, counters: Counters) -> TrainState:
    """Fresh optimizer, streams and generator; the model as the stage before left it."""
    model = setup.model
    model.zero_grad()
    model.encoder.requires_grad_(not stage.frozen_encoder)
    heads = [(n, p) for t in plan.tasks for n, p in model.heads[t].named_parameters(prefix=t)]
    shared = [(n, p) for n, p in model.encoder.named_parameters() if p.requires_grad]
    optimizer = stage.optimizer.build(shared, heads, stage.lr)
    seed = setup.recipe.seed + 1000 * counters.stage
    streams = {
        task: Stream(task, len(setup.encoded[task]), stage.size(task), seed, plan.rows[task])
        for task in plan.tasks
    }
    decisions = torch.Generator().manual_seed(seed)
    return TrainState(model, optimizer, streams, decisions, {}, counters)


def train_step(setup: Setup, stage: Stage, plan: Plan, state: TrainState) -> dict[str, Any]:
    """One optimizer step; what the journal says of it."""
    index, model = state.counters.step, state.model
    model.train()
    model.encoder.train(not stage.frozen_encoder)
    epoch = min(index // plan.steps_per_epoch, plan.epochs - 1) + 1
    step = Step(index, plan.steps, epoch, plan.epochs, state.decisions, state.memory)
    factor = stage.schedule.factor(index, plan.steps, epoch)
    for group in state.optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
    shared = [p for p in model.encoder.parameters() if p.requires_grad]
    apart = stage.combiner.needs_gram or plan.measures_conflicts(index)
    gradients: dict[str, list[Tensor | None]] = {}
    losses: dict[str, list[Tensor]] = {}
    rows = tokens = 0
    for _ in range(stage.batches_per_step):
        for name in [plan.tasks[t] for t in stage.sampler.draw(list(plan.rows.values()), step)]:
            batch = setup.encoded[name].batch(state.streams[name].draw()).to(setup.device)
            loss = setup.recipe.tasks[name].loss(model(batch), batch.target_B)
            torch.autograd.backward(loss * (plan.weights[name] / stage.batches_per_step))
            if apart:  # one task's graph at a time; heads keep their gradients in `.grad`
                add_gradient(gradients, name, take_gradient(shared))
            losses.setdefault(name, []).append(loss.detach())
            rows += len(batch.target_B)
            tokens += len(batch.tokens.ids_N)
    told: dict[str, Any] = {}
    if apart:
        gram_TT = gram_matrix(list(gradients.values()))
        set_weighted_sum(shared, gradients, stage.combiner.weigh(gram_TT, step))
        told["cosines"] = cosines(gram_TT, list(gradients))
    trained = [p for group in state.optimizer.param_groups for p in group["params"]]
    norm = float(nn.utils.clip_grad_norm_(trained, stage.clip or math.inf))
    state.optimizer.step()
    state.optimizer.zero_grad()
    state.counters.rows += rows
    state.counters.tokens += tokens
    means = {name: float(torch.stack(each).mean()) for name, each in losses.items()}
    if not all(math.isfinite(loss) for loss in means.values()):
        raise RecipeError(
            f"stage {stage.name!r}, step {index + 1}: the loss is not finite ({means}). "
            "Lower the learning rate, or set `precision: fp32`."
        )
    return told | {
        "losses": means, "lr": factor, "norm": norm, "rows": rows, "tokens": tokens,
    }  # fmt: skip
