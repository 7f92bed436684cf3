"""Recipe to model: encoder, heads, device and precision."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from trivium.errors import RecipeError
from trivium.model.encoder import Encoder, Pooler
from trivium.model.multitask import MultiTaskModel
from trivium.model.pretrained import find_checkpoint, load_encoder
from trivium.parts.adapters import AdapterPart, LoRA
from trivium.parts.heads import build_trunks
from trivium.parts.tasks import Task
from trivium.recipe import Recipe
from trivium.run.peft import import_peft
from trivium.text.tokenizer import Tokenizer


def build(recipe: Recipe) -> tuple[MultiTaskModel, Tokenizer]:
    """The pretrained encoder with a fresh head per task, on the CPU, and its tokenizer.

    New parameters are drawn from `recipe.seed`.
    """
    folder = find_checkpoint(recipe.encoder)
    tokenizer = Tokenizer(folder)
    encoder = load_encoder(folder)
    if tokenizer.size > encoder.config.vocab_size:
        raise RecipeError(
            f"{folder}: its tokenizer has {tokenizer.size:,} pieces, "
            f"but the encoder only {encoder.config.vocab_size:,} vectors."
        )
    torch.manual_seed(recipe.seed)
    model = assemble(encoder, recipe.tasks, recipe.adapters)
    for adapter in recipe.adapters:
        if isinstance(adapter, LoRA) and adapter.start is not None:
            import_peft(encoder, Path(adapter.start))
    return model, tokenizer


def assemble(
    encoder: Encoder, tasks: Mapping[str, Task], adapters: Sequence[AdapterPart] = ()
) -> MultiTaskModel:
    """The encoder with fresh heads and adapters, and a fresh pooler if one is asked for and it
    has none. Raises RecipeError for an adapter that does not fit the encoder."""
    if any(task.resolved_head.wants_pooler for task in tasks.values()) and encoder.pooler is None:
        encoder.pooler, encoder.pooler_is_fresh = Pooler(encoder.config), True
        encoder.config = encoder.config.model_copy(update={"has_pooler": True})
    width = encoder.config.hidden_size
    heads = {name: task.build_head(width) for name, task in tasks.items()}
    try:
        trunks = build_trunks(tasks, width)
        for adapter in adapters:
            adapter.attach(encoder, list(tasks))
    except ValueError as error:
        raise RecipeError(str(error)) from error
    return MultiTaskModel(encoder, heads, trunks)


def choose_device(wanted: str) -> torch.device:
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise RecipeError(
            f"device: {wanted} was asked for, but there is none here; use auto or cpu."
        )
    if re.fullmatch(r"cpu|cuda(:\d+)?", wanted) is None:
        raise RecipeError(f"device: {wanted!r} is none of auto, cpu, cuda, cuda:N.")
    _, _, number = wanted.partition(":")
    if number and int(number) >= torch.cuda.device_count():
        raise RecipeError(
            f"device: {wanted} was asked for, but there are {torch.cuda.device_count()} here, "
            "counted from 0."
        )
    if wanted.startswith("cuda"):
        torch.backends.cudnn.allow_tf32 = False  # as torch itself does for products: fp32 is fp32
    return torch.device(wanted)


def choose_precision(wanted: str, device: torch.device) -> torch.dtype:
    """What the encoder's layers compute in; `auto` is bf16 only where the chip multiplies it."""
    if wanted == "auto":
        wanted = "bf16" if _multiplies_bf16(device) else "fp32"
    return torch.bfloat16 if wanted == "bf16" else torch.float32


def precision_name(dtype: torch.dtype) -> str:
    return "bf16" if dtype == torch.bfloat16 else "fp32"


def _multiplies_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
