"""Which parameters a stage trains, which of them tasks share, and where fresh ones start."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from trivium.errors import RecipeError
from trivium.model.multitask import MultiTaskModel, Shared
from trivium.model.ownership import TRUNK, is_adapter_parameter, side_task
from trivium.parts.trainable import layer_of
from trivium.recipe import Recipe, Stage
from trivium.run.rows.encoded import Encoded
from trivium.run.training.plan import Plan
from trivium.run.training.resting import kept_texts
from trivium.run.training.state import Counters, TrainState
from trivium.run.training.work import Setup
from trivium.text.streams import Stream

Named = list[tuple[str, nn.Parameter]]


def start_stage(setup: Setup, stage: Stage, plan: Plan, counters: Counters) -> TrainState:
    """Fresh optimizer, streams and generator; the model as the stage before left it."""
    model = setup.model
    model.zero_grad()
    encoder, heads = stage_parameters(setup.recipe, model, stage)
    model.requires_grad_(False)
    for _, parameter in (*encoder, *heads):
        parameter.requires_grad_(True)
    layers = model.encoder.config.num_hidden_layers
    optimizer = stage.optimizer.build(encoder, heads, stage.lr, layers=layers)
    seed = setup.recipe.seed + 1000 * counters.stage
    streams = {
        task: Stream(task, len(setup.encoded[task]), plan.sizes[task], seed, plan.rows[task])
        for task in plan.tasks
    }
    decisions = torch.Generator().manual_seed(seed)
    kept = kept_texts(setup.recipe, stage, model)
    return TrainState(model, optimizer, streams, decisions, {}, counters, kept=kept)


def stage_parameters(recipe: Recipe, model: MultiTaskModel, stage: Stage) -> tuple[Named, Named]:
    """What a stage trains sooner or later: of the encoder with its adapters, and of the heads and
    their trunks. Raises RecipeError for settings that do not fit the encoder, and for a task that
    would learn nothing."""
    encoder = _encoder_parameters(recipe, model, stage)
    names = recipe.stage_tasks(stage)
    sides = {side_task(name) for name, _ in encoder}  # None among them: something that all share
    for task in names:
        learns = None in sides or task in sides or model.head(task).trunk
        if not (learns or [*model.heads[task].parameters()]):
            raise RecipeError(
                f"stage {stage.name!r}: {task} has nothing to learn: the encoder is frozen, and "
                f"its head {recipe.tasks[task].resolved_head.kind} has no parameters. Take another "
                "head, train more of the encoder, or leave the task out of the stage."
            )
    heads = [(n, p) for t in names for n, p in model.heads[t].named_parameters(prefix=t)]
    trunks = dict.fromkeys(trunk for t in names if (trunk := model.head(t).trunk))
    heads += [
        (n, p) for t in trunks for n, p in model.trunks[t].named_parameters(prefix=f"{TRUNK}{t}")
    ]
    return encoder, heads


def _encoder_parameters(recipe: Recipe, model: MultiTaskModel, stage: Stage) -> Named:
    """Of the encoder and its adapters, what a stage trains sooner or later."""
    names = recipe.stage_tasks(stage)
    layers = model.encoder.config.num_hidden_layers
    try:
        stage.trains.check(layers)
    except ValueError as error:
        raise RecipeError(f"stage {stage.name!r}: trains: {error}") from error
    pooler = any(recipe.tasks[name].resolved_head.wants_pooler for name in names)

    def learns(name: str) -> bool:
        if (task := side_task(name)) is not None:
            return task in names
        if is_adapter_parameter(name):
            return True
        # One that nobody reads has no gradient; a fresh one learns even where the rest is frozen.
        if name.startswith("pooler.") and (not pooler or model.encoder.pooler_is_fresh):
            return pooler
        return not recipe.freezes_base and stage.trains.ever_trains(name, layers)

    return [(name, p) for name, p in model.encoder.named_parameters() if learns(name)]


def place_of(shared: Shared, layers: int) -> str:
    """Where in a model, whose encoder has so many layers, a parameter is: a layer, or a trunk."""
    if shared.trunk is not None:
        return f"trunk {shared.trunk}"
    layer = layer_of(shared.name, layers)
    return "embeddings" if layer < 0 else f"layer {layer}"


def start_from_counts(model: MultiTaskModel, encoded: Mapping[str, Encoded]) -> None:
    """Tell heads that guess words how frequent each word piece is in their training texts."""
    pieces = model.encoder.config.vocab_size
    for name, task in encoded.items():
        head = model.head(name)
        if head.wants_counts:
            read = np.concatenate(
                [ids for texts in task.texts for ids in task.table.several(texts)]
            )
            head.start_from_counts(torch.from_numpy(np.bincount(read, minlength=pieces)))
