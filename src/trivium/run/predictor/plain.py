"""An encoder as it is, without a task: texts to vectors."""

from trivium.model.multitask import MultiTaskModel
from trivium.model.pretrained import find_checkpoint, load_encoder
from trivium.run.assembly.assembled import refuse_misfit
from trivium.run.assembly.device import choose_precision
from trivium.run.assembly.machine import keep_memory
from trivium.run.predictor.torch import TorchPredictor
from trivium.run.predictor.trained import refuse_unknown
from trivium.text.tokenizer import Tokenizer


def load_plain(encoder: str, *, precision: str = "auto", device: str = "auto") -> TorchPredictor:
    """A pretrained encoder that embeds and answers nothing. encoder: as a recipe names it. Raises
    RecipeError."""
    chosen = refuse_unknown(precision, device)
    keep_memory()
    folder = find_checkpoint(encoder)
    tokenizer, read = Tokenizer(folder), load_encoder(folder)
    refuse_misfit(tokenizer, read, folder)
    read.precision = choose_precision(precision, chosen)
    return TorchPredictor(MultiTaskModel(read.to(chosen).eval(), {}), {}, tokenizer)
