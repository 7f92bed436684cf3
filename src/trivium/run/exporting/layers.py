"""A task's head as pooling and plain layers, which is all that other libraries can express."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from trivium.errors import RecipeError
from trivium.model.multitask import MultiTaskModel, Pooling, pool
from trivium.parts.tasks import Labelled, Task
from trivium.run.exporting.parity import apart, packs
from trivium.run.predictor.torch import TorchPredictor

TOLERANCE = 1e-6
"""Of a probability, or of a score in parts of its range."""
Activation = Literal["tanh", "gelu", "none"]


class CannotBeSaidError(ValueError):
    """A task has no exact form in the wanted library; the message says why."""


@dataclass(frozen=True, slots=True)
class Layer:
    """activation(x @ weight.T + bias)."""

    weight_CF: Tensor
    bias_C: Tensor
    then: Activation = "none"

    def __call__(self, x_RF: Tensor) -> Tensor:
        y_RC = F.linear(x_RF, self.weight_CF, self.bias_C)
        if self.then == "none":
            return y_RC
        return torch.tanh(y_RC) if self.then == "tanh" else F.gelu(y_RC)


@dataclass(frozen=True, slots=True)
class Plain:
    """A head whose outputs are plain layers on one pooled vector: logits, or the score itself."""

    pooling: Pooling
    """BERT's pooler is `cls` and a first layer."""
    layers: tuple[Layer, ...]


def refuse_sides(model: MultiTaskModel, task: Task) -> None:
    """Raises CannotBeSaidError."""
    if model.encoder.sides.of(task.name):
        raise CannotBeSaidError("it has adapters of its own beside the encoder's layers")


def plain(model: MultiTaskModel, task: Task) -> Plain:
    """Raises CannotBeSaidError."""
    refuse_sides(model, task)
    head, kind = model.head(task.name), task.resolved_head.kind
    if task.sequences == 2:
        raise CannotBeSaidError(f"its head ({kind}) looks at the vectors of two texts")
    stack = head.stack(model.trunk_of(task.name))
    if head.pooling is None or stack is None:
        raise CannotBeSaidError(
            f"its head ({kind}, for {type(task).__name__.lower()}) is more than linear layers on a "
            "pooled vector"
        )
    layers = [
        Layer(layer.weight.detach(), layer.bias.detach(), "gelu" if gelu else "none")
        for layer, gelu in stack
    ]
    low, high = task.scale
    last = layers[-1]
    layers[-1] = replace(
        last, weight_CF=last.weight_CF * (high - low), bias_C=last.bias_C * (high - low) + low
    )
    if head.pooling == "pooler":
        pooler = model.encoder.pooler
        assert pooler is not None, "build gives every model that asks for one a pooler"
        dense = pooler.dense
        layers.insert(0, Layer(dense.weight.detach(), dense.bias.detach(), "tanh"))
    return Plain("cls" if head.pooling == "pooler" else head.pooling, tuple(layers))


@torch.inference_mode()
def refuse_different(model: TorchPredictor, task: Task, found: Plain) -> float:
    """The largest difference from what the model tells of random batches, calibrated if it is.

    Raises RecipeError where it is too large.
    """
    largest, decide = 0.0, task.decide if isinstance(task, Labelled) else None
    # A temperature below 1 makes differences of logits, rounding's too, that much larger.
    tolerance = TOLERANCE / min(1.0, decide.temperature if decide is not None else 1.0)
    low, high = task.scale
    encoder, head = model.model.encoder, model.model.head(task.name)
    for tokens in packs(model.tokenizer, model.limit):
        hidden_ND = encoder(tokens, task.name)
        vector_RC = head.represent(hidden_ND, tokens, encoder)
        ours_RK = task.readout(model.model.decide(task.name, vector_RC[:, None]))
        if decide is not None and task.says is not None:
            ours_RK = torch.from_numpy(task.says.told(ours_RK.numpy()))
        x_RC = pool(hidden_ND, tokens, encoder, found.pooling)
        for layer in found.layers:
            x_RC = layer(x_RC)
        theirs_RK = task.readout((x_RC - low) / (high - low))
        largest = max(largest, apart(task, ours_RK, theirs_RK))
    if not largest <= tolerance:
        raise RecipeError(
            f"export: {task.name}: what would be written differs from the model by {largest:.1e}, "
            f"more than {tolerance:.0e}. Nothing was written. Please report it, with the recipe."
        )
    return largest
