"""LoRA on an encoder (Hu et al. 2022), and what any adapter has added to one, as tensors."""

from collections.abc import Collection, Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor

from trivium.errors import RecipeError
from trivium.model.encoder import Encoder
from trivium.model.kernels import Linear
from trivium.model.lowrank import LoraPair
from trivium.model.ownership import is_adapter_parameter

LoraLayer = Literal["query", "key", "value", "attention_output", "intermediate", "output", "pooler"]
"""A linear layer of the encoder; each but the pooler stands once in every layer of BERT."""

MODULES: Mapping[LoraLayer, str] = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention_output": "attention.output.dense",
    "intermediate": "intermediate.dense",
    "output": "output.dense",
}
"""Where each stands in `encoder.layer.<n>`."""

ALL_LAYERS: tuple[LoraLayer, ...] = tuple(MODULES)


# --- putting LoRA in ---------------------------------------------------------------------------


def module_names(encoder: Encoder, on: Collection[LoraLayer]) -> list[str]:
    """Full names of the chosen linear layers, in the encoder's order.

    Raises RecipeError for the pooler of an encoder that has none.
    """
    layers = range(encoder.config.num_hidden_layers)
    names = [f"encoder.layer.{n}.{MODULES[kind]}" for n in layers for kind in MODULES if kind in on]
    if "pooler" in on:
        if encoder.pooler is None:
            raise RecipeError("LoRA: this encoder has no pooler; leave `pooler` out of `on`.")
        names.append("pooler.dense")
    return names


def add_lora(
    encoder: Encoder, names: Collection[str], rank: int, alpha: float, dropout: float = 0.0
) -> None:
    """Put a fresh pair into each named linear layer; until trained, nothing else changes.

    dropout: of the pairs' input. Raises RecipeError where a layer has LoRA already.
    """
    for name in names:
        linear = encoder.get_submodule(name)
        assert isinstance(linear, Linear), name
        if linear.lora is not None:
            raise RecipeError(f"adapters: {name} has LoRA already; leave one out.")
    for name in names:
        linear = encoder.get_submodule(name)
        assert isinstance(linear, Linear)
        pair = LoraPair(linear.in_features, linear.out_features, rank, alpha, dropout)
        linear.lora = pair.to(linear.weight.device).train(encoder.training)


def lora_layers(encoder: Encoder) -> Iterator[tuple[str, Linear, LoraPair]]:
    """Every linear layer that has a pair, with its name and the pair."""
    for name, module in encoder.named_modules():
        if isinstance(module, Linear) and module.lora is not None:
            yield name, module, module.lora


@torch.no_grad()
def merge_lora(encoder: Encoder) -> None:
    """Add every low-rank product to its weight, in place: from then on a plain BERT.

    `save_encoder` then writes it as one. The pairs stay, out of use, for `unmerge_lora`; what is
    merged already is left alone.
    """
    for _, linear, pair in lora_layers(encoder):
        if not pair.merged:
            linear.weight.add_(pair.product())
            pair.merged = True


@torch.no_grad()
def unmerge_lora(encoder: Encoder) -> None:
    """Undo `merge_lora`: weights return to what they were, up to fp32 rounding."""
    for _, linear, pair in lora_layers(encoder):
        if pair.merged:
            linear.weight.sub_(pair.product())
            pair.merged = False


# --- what adapters added -----------------------------------------------------------------------


def adapter_state(encoder: Encoder) -> dict[str, Tensor]:
    """The tensors that adapters added; memory is shared with the encoder.

    Raises RecipeError while LoRA is merged: saved beside weights that hold it, it would be added
    twice.
    """
    _refuse_merged(encoder)
    return {
        name: tensor for name, tensor in encoder.state_dict().items() if is_adapter_parameter(name)
    }


@torch.no_grad()
def load_adapter_state(encoder: Encoder, tensors: Mapping[str, Tensor]) -> None:
    """Write such tensors into an encoder with the same adapters attached, in place.

    Raises RecipeError for a missing, an unexpected or a wrongly shaped tensor.
    """
    wanted = adapter_state(encoder)
    if missing := sorted(wanted.keys() - tensors.keys()):
        raise RecipeError(f"adapters: tensor {missing[0]} is missing ({len(missing)} in all).")
    if extra := sorted(tensors.keys() - wanted.keys()):
        raise RecipeError(
            f"adapters: tensor {extra[0]} has no place in this model ({len(extra)} such in all)."
        )
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            shape, right = list(tensor.shape), list(wanted[name].shape)
            raise RecipeError(f"adapters: tensor {name} has shape {shape}, not {right}.")
    own = dict(encoder.named_parameters())  # `get_parameter` trips over a task called `type`
    for name, tensor in tensors.items():
        own[name].copy_(tensor)


def _refuse_merged(encoder: Encoder) -> None:
    if any(pair.merged for _, _, pair in lora_layers(encoder)):
        raise RecipeError("adapters: LoRA is merged into the weights; call unmerge_lora first.")
