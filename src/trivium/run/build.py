"""Recipe to model: encoder, heads, device and precision."""

from collections.abc import Mapping

import torch

from trivium.errors import RecipeError
from trivium.model.encoder import Encoder, Pooler
from trivium.model.multitask import MultiTaskModel
from trivium.model.pretrained import find_checkpoint, load_encoder
from trivium.parts.tasks import Task
from trivium.recipe import Recipe
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
    return assemble(encoder, recipe.tasks), tokenizer


def assemble(encoder: Encoder, tasks: Mapping[str, Task]) -> MultiTaskModel:
    """The encoder with fresh heads, and a fresh pooler if one is asked for and it has none."""
    wants_pooler = any(task.resolved_head.pooling == "pooler" for task in tasks.values())
    if wants_pooler and encoder.pooler is None:
        encoder.pooler = Pooler(encoder.config)
        encoder.config = encoder.config.model_copy(update={"has_pooler": True})
    width = encoder.config.hidden_size
    return MultiTaskModel(encoder, {name: task.build_head(width) for name, task in tasks.items()})


def choose_device(wanted: str) -> torch.device:
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise RecipeError(
            f"device: {wanted} was asked for, but there is none here; use auto or cpu."
        )
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
