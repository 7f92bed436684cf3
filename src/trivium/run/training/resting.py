"""What of an encoder rests in a stage: learns nothing, and has no dropout.

It makes of a text the same in every epoch, so it is computed once for each: see `model.kept`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from trivium.model.kept import ROOM, KeptTexts
from trivium.model.multitask import MultiTaskModel
from trivium.recipe import Recipe, Stage
from trivium.run.training.state import TrainState


def resting_layers(recipe: Recipe, stage: Stage, model: MultiTaskModel) -> int | None:
    """How many layers rest, above the embeddings; None where not even these do."""
    config, trains = model.encoder.config, stage.trains
    drops = config.hidden_dropout_prob or config.attention_probs_dropout_prob
    if recipe.adapters or (drops and trains.trains_any and trains.drops_frozen):
        return None
    return trains.frozen_layers(config.num_hidden_layers)


def set_modes(recipe: Recipe, stage: Stage, model: MultiTaskModel) -> None:
    """Dropout for what has it in a stage; between steps somebody may have evaluated."""
    encoder, learns = model.encoder, bool(stage.trains.trains_any or recipe.adapters)
    rests = resting_layers(recipe, stage, model) if learns else None
    right = (True, learns, learns and rests is None)
    if (model.training, encoder.training, encoder.embeddings.training) == right:
        return
    model.train()  # a walk through all modules
    encoder.train(learns)
    if rests is not None:
        encoder.embeddings.eval()
        for layer in encoder.encoder.layer[:rests]:
            layer.eval()


def kept_texts(recipe: Recipe, stage: Stage, model: MultiTaskModel) -> KeptTexts | None:
    """Where a stage keeps what rests; None where that would save nothing."""
    rests = resting_layers(recipe, stage, model)
    return KeptTexts(rests, ROOM) if rests else None


@contextmanager
def keeping(state: TrainState) -> Iterator[None]:
    """Inside, what rests is computed once for each text."""
    state.model.kept = state.kept
    try:
        yield
    finally:
        state.model.kept = None
