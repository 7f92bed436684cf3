"""Which parameters a stage trains, which of them tasks share, and where fresh ones start."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from trivium.errors import RecipeError
from trivium.model.lora import is_adapter_parameter
from trivium.model.multitask import MultiTaskModel
from trivium.parts.heads.words import WordsModule
from trivium.parts.trainable import layer_of
from trivium.recipe import Recipe, Stage
from trivium.run.rows.encoded import Encoded
from trivium.run.training.plan import Plan
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
    return TrainState(model, optimizer, streams, decisions, {}, counters)


def stage_parameters(recipe: Recipe, model: MultiTaskModel, stage: Stage) -> tuple[Named, Named]:
    """What a stage trains sooner or later: of the encoder with its adapters, and of the heads."""
    names = recipe.stage_tasks(stage)
    layers = model.encoder.config.num_hidden_layers
    try:
        stage.trains.check(layers)
    except ValueError as error:
        raise RecipeError(f"stage {stage.name!r}: trains: {error}") from error
    pooler = any(recipe.tasks[name].resolved_head.wants_pooler for name in names)

    def learns(name: str) -> bool:
        if name.startswith("sides."):  # sides.<kind>.<task>.…
            return name.split(".")[2] in names
        if is_adapter_parameter(name):
            return True
        if name.startswith("pooler.") and (not pooler or model.encoder.pooler_is_fresh):
            return pooler
        return not recipe.freezes_base and stage.trains.ever_trains(name, layers)

    encoder = [(n, p) for n, p in model.encoder.named_parameters() if learns(n)]
    common = any(not n.startswith("sides.") for n, _ in encoder)
    for task in names:
        own = any(n.split(".")[2] == task for n, _ in encoder if n.startswith("sides."))
        if not (common or own or model.head(task).trunk or [*model.heads[task].parameters()]):
            raise RecipeError(
                f"stage {stage.name!r}: {task} has nothing to learn: the encoder is frozen, and "
                f"its head {recipe.tasks[task].resolved_head.kind} has no parameters. Take another "
                "head, train more of the encoder, or leave the task out of the stage."
            )
    heads = [(n, p) for t in names for n, p in model.heads[t].named_parameters(prefix=t)]
    trunks = dict.fromkeys(trunk for t in names if (trunk := model.head(t).trunk))
    heads += [
        (n, p) for t in trunks for n, p in model.trunks[t].named_parameters(prefix=f"trunk:{t}")
    ]
    return encoder, heads


def shared_parameters(model: MultiTaskModel) -> tuple[list[nn.Parameter], list[str]]:
    """Trained parameters that several tasks can reach, and where in the model each one is."""
    layers = model.encoder.config.num_hidden_layers
    found, groups = [], []
    for name, parameter in model.encoder.named_parameters():
        if parameter.requires_grad and not name.startswith("sides."):
            layer = layer_of(name, layers)
            found.append(parameter)
            groups.append("embeddings" if layer < 0 else f"layer {layer}")
    for name, parameter in model.trunks.named_parameters():
        if parameter.requires_grad:
            found.append(parameter)
            groups.append(f"trunk {name.split('.')[0]}")
    return found, groups


def start_from_counts(model: MultiTaskModel, encoded: Mapping[str, Encoded]) -> None:
    """Tell fresh heads for masked words how frequent each word piece is in their training texts.

    The bias becomes log((n_v + 1) / (n + V)), the best guess before anything is read. Learned, it
    would take a rare piece some thousand steps.
    """
    for name, task in encoded.items():
        head = model.head(name)
        if isinstance(head, WordsModule) and head.is_fresh:
            bias_V = head.decoder.bias
            pieces = np.concatenate([task.table[text] for texts in task.texts for text in texts])
            count_V = torch.from_numpy(np.bincount(pieces, minlength=len(bias_V))) + 1.0
            with torch.no_grad():
                bias_V.copy_((count_V / count_V.sum()).log())
