"""Recipe to model: the pretrained encoder with heads, trunks and adapters."""

from pathlib import Path

import torch

from trivium.model.multitask import MultiTaskModel
from trivium.model.pretrained import find_checkpoint, load_encoder
from trivium.recipe import Recipe
from trivium.run.assembly.assembled import assemble, refuse_misfit
from trivium.run.assembly.peft import import_peft
from trivium.text.tokenizer import Tokenizer


def build(recipe: Recipe) -> tuple[MultiTaskModel, Tokenizer]:
    """The pretrained encoder with a fresh head per task, on the CPU, and its tokenizer.

    New parameters are drawn from `recipe.seed`; the head for masked words is the checkpoint's own
    if it has one.
    """
    folder = find_checkpoint(recipe.encoder)
    tokenizer = Tokenizer(folder)
    encoder = load_encoder(folder)
    refuse_misfit(tokenizer, encoder, folder)
    torch.manual_seed(recipe.seed)
    model = assemble(encoder, recipe.tasks, recipe.adapters)
    for name in recipe.tasks:
        model.head(name).start_from(folder)
    for adapter in recipe.adapters:
        if adapter.begins_with is not None:
            import_peft(encoder, Path(adapter.begins_with))
    return model, tokenizer
