"""Encoder, heads, trunks and adapters as one model. Knows no recipe: a trained model needs none."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from trivium.errors import RecipeError
from trivium.model.encoder import Encoder
from trivium.model.multitask import MultiTaskModel
from trivium.model.pooler import Pooler
from trivium.parts.adapters import AdapterPart
from trivium.parts.heads import build_trunks
from trivium.parts.tasks import Task
from trivium.text.tokenizer import Tokenizer


def refuse_misfit(tokenizer: Tokenizer, encoder: Encoder, folder: Path) -> None:
    """Raises RecipeError where the tokenizer knows a word piece that has no vector."""
    vectors = encoder.config.vocab_size
    if tokenizer.size > vectors:
        raise RecipeError(
            f"{folder}: its tokenizer has {tokenizer.size:,} pieces, "
            f"but the encoder only {vectors:,} vectors."
        )
    if tokenizer.largest >= vectors:
        raise RecipeError(
            f"{folder}: its tokenizer has a piece with the id {tokenizer.largest:,}, but the "
            f"encoder's {vectors:,} vectors end before. The files do not belong together."
        )


def assemble(
    encoder: Encoder, tasks: Mapping[str, Task], adapters: Sequence[AdapterPart] = ()
) -> MultiTaskModel:
    """The encoder with fresh heads and adapters, and a fresh pooler if one is asked for and it
    has none. Raises RecipeError for an adapter that does not fit the encoder, and for a pair in one
    sequence where the encoder cannot tell its second text from its first."""
    if encoder.config.type_vocab_size < 2:
        for name, task in tasks.items():
            if task.is_pair and task.sequences == 1:
                raise RecipeError(
                    f"tasks.{name}: both texts of its pairs are to be in one sequence, but this "
                    "encoder has one kind of segment only (type_vocab_size 1). Set `encode: "
                    "separate`, with a head for two texts, or take another encoder."
                )
    if any(task.resolved_head.wants_pooler for task in tasks.values()) and encoder.pooler is None:
        config = encoder.config
        encoder.pooler = Pooler(config.hidden_size, config.initializer_range)
        encoder.pooler_is_fresh = True
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
