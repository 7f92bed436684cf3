"""Recipe to model: encoder, heads, device and precision."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from trivium.errors import RecipeError
from trivium.model.encoder import Encoder, Pooler
from trivium.model.multitask import MultiTaskModel
from trivium.model.pretrained import (
    check_tensors,
    find_checkpoint,
    load_encoder,
    load_words_head,
)
from trivium.parts.adapters import AdapterPart, LoRA
from trivium.parts.heads import build_trunks
from trivium.parts.heads.words import WordsModule
from trivium.parts.tasks import Task
from trivium.recipe import Recipe
from trivium.run.data import Encoded
from trivium.run.peft import import_peft
from trivium.text.tokenizer import Tokenizer


def build(recipe: Recipe) -> tuple[MultiTaskModel, Tokenizer]:
    """The pretrained encoder with a fresh head per task, on the CPU, and its tokenizer.

    New parameters are drawn from `recipe.seed`; the head for masked words is the checkpoint's own
    if it has one.
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
    words = [head for name in recipe.tasks if isinstance(head := model.head(name), WordsModule)]
    if words and (known := load_words_head(folder)) is not None:
        for head in words:
            check_tensors(known, head.state_dict(), f"{folder}: cls.predictions")
            head.load_state_dict(known)
            head.is_fresh = False
    for adapter in recipe.adapters:
        if isinstance(adapter, LoRA) and adapter.start is not None:
            import_peft(encoder, Path(adapter.start))
    return model, tokenizer


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


def assemble(
    encoder: Encoder, tasks: Mapping[str, Task], adapters: Sequence[AdapterPart] = ()
) -> MultiTaskModel:
    """The encoder with fresh heads and adapters, and a fresh pooler if one is asked for and it
    has none. Raises RecipeError for an adapter that does not fit the encoder."""
    if any(task.resolved_head.wants_pooler for task in tasks.values()) and encoder.pooler is None:
        encoder.pooler, encoder.pooler_is_fresh = Pooler(encoder.config), True
        encoder.config = encoder.config.model_copy(update={"has_pooler": True})
    width = encoder.config.hidden_size
    words = encoder.config.vocab_size
    heads = {name: task.build_head(width, words) for name, task in tasks.items()}
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
