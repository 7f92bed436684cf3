"""Trained runs put to use: loaded, judged, and asked about whole files."""

from pathlib import Path

from trivium.errors import RecipeError
from trivium.run.build import choose_device, choose_precision
from trivium.run.checkpoint import find_model, load_model
from trivium.run.machine import keep_memory
from trivium.run.predict import TorchPredictor


def load(run: str | Path, *, precision: str = "auto", device: str = "auto") -> TorchPredictor:
    """A run's model (or a model folder), verified and ready to answer.

    precision: fp32, bf16, or auto: the one it was trained in, but fp32 where the device does not
    compute in bf16. Raises RecipeError where a file or tensor is missing, unexpected or altered.
    """
    if precision not in ("auto", "fp32", "bf16"):
        raise RecipeError(f"precision: {precision!r} is none of auto, fp32, bf16.")
    chosen = choose_device(device)
    keep_memory()
    loaded = load_model(find_model(Path(run)))
    if precision == "auto" and loaded.precision == "fp32":
        precision = "fp32"
    loaded.model.encoder.precision = choose_precision(precision, chosen)
    return TorchPredictor(loaded.model.to(chosen).eval(), loaded.tasks, loaded.tokenizer)
