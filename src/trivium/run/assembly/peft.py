"""LoRA in the format of Hugging Face's PEFT: adapter_config.json and adapter_model.safetensors.

Only the encoder's LoRA travels: heads and sides stay in Trivium's own model folder.
"""

import json
import math
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from trivium.errors import RecipeError
from trivium.jsons import read_json
from trivium.model.encoder import Encoder
from trivium.model.lora import ALL_LAYERS, MODULES, add_lora, lora_layers, module_names
from trivium.model.lowrank import LoraPair
from trivium.model.weights import read_tensors, write_tensors

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
ENCODER = ("embeddings.", "encoder.", "pooler.")


def export_peft(encoder: Encoder, folder: Path, base_name: str) -> None:
    """Write the encoder's LoRA so that `peft.PeftModel.from_pretrained` reads it.

    base_name: hub name or folder of the checkpoint that LoRA is added to. Raises RecipeError for
    an encoder without LoRA, or with pairs of several ranks, scales or dropouts.
    """
    pairs = {name: pair for name, _, pair in lora_layers(encoder)}
    if not pairs:
        raise RecipeError("export: this encoder has no LoRA.")
    kinds = {(pair.rank, pair.alpha, pair.dropout) for pair in pairs.values()}
    if len(kinds) > 1:
        raise RecipeError(
            f"export: PEFT's format wants one rank, alpha and dropout, found {sorted(kinds)}."
        )
    ((rank, alpha, dropout),) = kinds
    settings = {
        "peft_type": "LORA",
        "task_type": None,
        "auto_mapping": {
            "base_model_class": "BertModel",
            "parent_library": "transformers.models.bert.modeling_bert",
        },
        "base_model_name_or_path": base_name,
        "r": rank,
        "lora_alpha": int(alpha) if float(alpha).is_integer() else alpha,
        "lora_dropout": dropout,
        "target_modules": _targets(encoder, pairs.keys()),
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    tensors = {}
    for name, pair in pairs.items():
        for letter, tensor in (("A", pair.a), ("B", pair.b)):
            tensors[_tensor_name("", name, letter)] = tensor.detach().cpu().contiguous()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    write_tensors(tensors, folder / TENSORS)


def import_peft(encoder: Encoder, folder: Path) -> None:
    """Put a LoRA adapter that PEFT has saved for a BERT into the encoder.

    An encoder without LoRA gets it; one that has it takes the values, if rank, alpha and layers
    are the same. A head that was saved along (`classifier.…`) is left. Raises RecipeError for
    another method than plain LoRA, for tensors that are missing or do not fit, and while LoRA is
    merged.
    """
    settings = _read_settings(folder / CONFIG)
    tensors = read_tensors(folder / TENSORS)
    where = str(folder / TENSORS)
    heads = "bert." if any(name.startswith(f"{PREFIX}bert.") for name in tensors) else ""
    pairs = _pairs_found(tensors, PREFIX + heads, where)
    names = _names_wanted(encoder, settings, heads, pairs.keys(), where)
    has = {name: pair for name, _, pair in lora_layers(encoder)}
    if has:
        _check_same(has, names, settings, str(folder))
    for name in names:
        linear = encoder.get_submodule(name)
        inputs, outputs = linear.in_features, linear.out_features
        for letter, shape in (("A", (settings.rank, inputs)), ("B", (outputs, settings.rank))):
            tensor = pairs[name].get(letter)
            if tensor is None:
                raise RecipeError(f"{where}: {_tensor_name(heads, name, letter)} is missing.")
            if tensor.shape != shape:
                raise RecipeError(
                    f"{where}: {_tensor_name(heads, name, letter)} has shape "
                    f"{list(tensor.shape)}; rank {settings.rank} and this encoder ask for "
                    f"{list(shape)}."
                )
    if not has:
        add_lora(encoder, names, settings.rank, settings.alpha, settings.dropout)
    with torch.no_grad():
        for name, _, pair in lora_layers(encoder):
            pair.a.copy_(pairs[name]["A"])
            pair.b.copy_(pairs[name]["B"])


# --- names -------------------------------------------------------------------------------------


def _tensor_name(heads: str, name: str, letter: str) -> str:
    return f"{PREFIX}{heads}{name}.lora_{letter}.weight"


def _targets(encoder: Encoder, names: Collection[str]) -> list[str]:
    """The shortest names by which PEFT, which compares their ends, finds just these layers."""
    short = sorted({end for end in MODULES.values() for name in names if name.endswith("." + end)})
    short = [end.removeprefix("attention.self.") for end in short]
    short += ["pooler.dense"] if "pooler.dense" in names else []
    everything = _linear_names(encoder)
    if {name for name in everything if _ends(name, short)} == set(names):
        return short
    return list(names)


def _linear_names(encoder: Encoder) -> list[str]:
    pooler = [] if encoder.pooler is None else ["pooler.dense"]
    return [*module_names(encoder, ALL_LAYERS), *pooler]


def _ends(name: str, targets: Collection[str]) -> bool:
    return any(name == target or name.endswith(f".{target}") for target in targets)


# --- reading -----------------------------------------------------------------------------------


class _Settings(NamedTuple):
    rank: int
    alpha: float
    dropout: float
    targets: list[str] | str
    layers: list[int] | None


_READ = {"peft_type", "r", "lora_alpha", "lora_dropout", "use_rslora", "bias", "init_lora_weights"}
_READ |= {"target_modules", "layers_to_transform"}


# These say how the adapter came to be, or are about models that are no BERT.
_IDLE = {"task_type", "auto_mapping", "base_model_name_or_path", "peft_version", "revision"}
_IDLE |= {"inference_mode", "fan_in_fan_out", "layers_pattern", "modules_to_save"}
_IDLE |= {"ensure_weight_tying", "megatron_core", "qalora_group_size", "runtime_config"}
_IDLE |= {"corda_config", "eva_config", "loftq_config", "lora_ga_config"}
_PLAIN_STARTS = (True, False, None, "gaussian", "orthogonal", "eva")
"""Ways to draw A and B; all others change the weights that the product is added to."""


def _read_settings(path: Path) -> _Settings:
    try:
        values = read_json(path)
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such file; it is not a folder in PEFT's format.") from None
    if not isinstance(values, dict) or values.get("peft_type") != "LORA":
        kind = values.get("peft_type") if isinstance(values, dict) else type(values).__name__
        raise RecipeError(f"{path}: peft_type is {kind!r}; only 'LORA' can be read.")
    if values.get("bias", "none") != "none":
        raise RecipeError(f"{path}: bias is {values['bias']!r}; only 'none' can be read.")
    if values.get("init_lora_weights", True) not in _PLAIN_STARTS:
        raise RecipeError(
            f"{path}: init_lora_weights is {values['init_lora_weights']!r}, which changes the base "
            "weights as well; have PEFT convert it to plain LoRA, or merge it there."
        )
    for key, value in values.items():
        if value and key not in _READ | _IDLE:
            raise RecipeError(f"{path}: {key} is {value!r}; only plain LoRA can be read.")
    return _checked(values, path)


def _checked(values: Mapping[str, Any], path: Path) -> _Settings:
    rank, alpha = values.get("r"), values.get("lora_alpha")
    dropout = values.get("lora_dropout", 0.0)
    targets, layers = values.get("target_modules"), values.get("layers_to_transform")
    layers = [layers] if isinstance(layers, int) else layers or None
    good = {
        "r": isinstance(rank, int) and rank > 0,
        "lora_alpha": isinstance(alpha, int | float) and math.isfinite(alpha) and alpha > 0,
        "lora_dropout": isinstance(dropout, int | float) and 0 <= dropout < 1,
        "target_modules": isinstance(targets, str)
        or (isinstance(targets, list) and all(isinstance(target, str) for target in targets)),
        "layers_to_transform": layers is None
        or (isinstance(layers, list) and all(isinstance(layer, int) for layer in layers)),
    }
    for key, is_good in good.items():
        if not is_good:
            raise RecipeError(f"{path}: {key} is {values.get(key)!r}, which cannot be used.")
    assert isinstance(rank, int)
    assert isinstance(alpha, int | float)
    assert isinstance(targets, str | list)
    if values.get("use_rslora"):  # scales by alpha / sqrt(r) (Kalajdzievski 2023)
        alpha *= math.sqrt(rank)
    return _Settings(rank, float(alpha), float(dropout), targets, layers)


def _pairs_found(
    tensors: Mapping[str, Tensor], prefix: str, where: str
) -> dict[str, dict[str, Tensor]]:
    """A and B by the name of their layer; what is not the encoder's is left out."""
    pairs: dict[str, dict[str, Tensor]] = {}
    for full, tensor in tensors.items():
        name = full.removeprefix(prefix)
        if not name.startswith(ENCODER):
            continue
        match = re.fullmatch(r"(.+)\.lora_([AB])\.weight", name)
        if match is None:
            raise RecipeError(f"{where}: tensor {full} belongs to the encoder, but is not LoRA's.")
        pairs.setdefault(match[1], {})[match[2]] = tensor
    return pairs


def _names_wanted(
    encoder: Encoder, settings: _Settings, heads: str, given: Collection[str], where: str
) -> list[str]:
    """The layers that the settings name, all of which must be there, and no others."""
    names = _linear_names(encoder)
    if strange := sorted(set(given) - set(names)):
        layers = encoder.config.num_hidden_layers
        raise RecipeError(
            f"{where}: {strange[0]} is no linear layer of this encoder, which has {layers} layers."
        )
    targets = [name for name in names if _is_target(heads + name, settings)]
    # A BERT without a pooler, trained by PEFT, says nothing about ours.
    targets = [name for name in targets if name != "pooler.dense" or name in given]
    if not targets:
        raise RecipeError(
            f"{where}: target_modules {settings.targets!r} name no linear layer of a BERT, such as "
            "query, key, value or output.dense."
        )
    if missing := [name for name in targets if name not in given]:
        raise RecipeError(f"{where}: {_tensor_name(heads, missing[0], 'A')} is missing.")
    if extra := sorted(set(given) - set(targets)):
        raise RecipeError(
            f"{where}: holds {extra[0]}, which is not among target_modules {settings.targets!r}."
        )
    return targets


def _is_target(name: str, settings: _Settings) -> bool:
    """PEFT's rule: a pattern for the whole name, or a list of ends of names."""
    if isinstance(settings.targets, str):
        if settings.targets == "all-linear":
            return True
        try:
            return re.fullmatch(settings.targets, name) is not None
        except re.error as error:
            raise RecipeError(
                f"target_modules {settings.targets!r} is no pattern: {error}"
            ) from error
    if not _ends(name, settings.targets):
        return False
    number = re.search(r"encoder\.layer\.(\d+)\.", name)
    return settings.layers is None or (number is not None and int(number[1]) in settings.layers)


def _check_same(
    has: Mapping[str, LoraPair], names: Collection[str], settings: _Settings, where: str
) -> None:
    if any(pair.merged for pair in has.values()):
        raise RecipeError("LoRA is merged into the weights; call unmerge_lora first.")
    if has.keys() != set(names):
        other = min(has.keys() ^ set(names))
        who = "the encoder" if other in has else "the adapter"
        raise RecipeError(f"{where}: only {who} has LoRA on {other}; the layers must be the same.")
    pair = next(iter(has.values()))
    if pair.rank != settings.rank or not math.isclose(pair.alpha, settings.alpha):
        raise RecipeError(
            f"{where}: has rank {settings.rank} and alpha {settings.alpha:g}, but the encoder's "
            f"LoRA has rank {pair.rank} and alpha {pair.alpha:g}."
        )
