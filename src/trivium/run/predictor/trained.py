"""Trained runs and ensembles put to use in PyTorch, as `trivium train` leaves them."""

from pathlib import Path

import torch

from trivium.errors import RecipeError
from trivium.run.assembly.device import choose_device, choose_precision
from trivium.run.assembly.machine import keep_memory
from trivium.run.folder.model import find_model, load_model
from trivium.run.folder.names import ENSEMBLE, MEMBERS
from trivium.run.folder.panels import read_contents
from trivium.run.folder.sealed import Unsealed
from trivium.run.hub.fetch import local_folder
from trivium.run.predictor.ensemble import EnsemblePredictor
from trivium.run.predictor.torch import TorchPredictor


def load_trained(
    run: str | Path,
    *,
    precision: str = "auto",
    device: str = "auto",
    as_trained: bool = False,
    unsealed: Unsealed | None = None,
) -> TorchPredictor | EnsemblePredictor:
    """A run's model (or a model folder, or an ensemble), verified and ready to answer.

    precision: fp32, bf16, or auto: the one it was trained in, but fp32 where the device does not
    compute in bf16. as_trained: leave out what `trivium calibrate` found. unsealed: of a single
    model's folder, where that was begun. Raises RecipeError where a file or tensor is missing,
    unexpected or altered.
    """
    folder = local_folder(run)
    if not (folder / ENSEMBLE).is_file():
        return load_single(
            folder, precision=precision, device=device, as_trained=as_trained, unsealed=unsealed
        )
    refuse_unknown(precision, device)  # which is not the first member's fault
    contents = read_contents(folder)
    members = []
    for place, origin in enumerate(contents.members):
        try:
            home = folder / MEMBERS / str(place)
            # What one model decides by was found for it alone, and not for their mean.
            member = load_single(home, precision=precision, device=device, as_trained=True)
        except RecipeError as error:
            raise RecipeError(f"{folder}: member {place} ({origin.name}): {error}") from error
        members.append(member)
    return EnsemblePredictor(members, contents.tasks)


def load_single(
    run: str | Path,
    *,
    precision: str = "auto",
    device: str = "auto",
    as_trained: bool = False,
    unsealed: Unsealed | None = None,
) -> TorchPredictor:
    """As `load_trained`, for what needs a single model: an ensemble is refused.

    as_trained: leave out what `trivium calibrate` found.
    """
    chosen = refuse_unknown(precision, device)
    keep_memory()
    loaded = load_model(find_model(Path(run)), unsealed)
    if precision == "auto" and loaded.precision == "fp32":
        precision = "fp32"
    loaded.model.encoder.precision = choose_precision(precision, chosen)
    tasks = loaded.tasks
    if as_trained:
        tasks = {name: task.undecided() for name, task in tasks.items()}
    return TorchPredictor(loaded.model.to(chosen).eval(), tasks, loaded.tokenizer)


def refuse_unknown(precision: str, device: str) -> torch.device:
    """The device that is meant. Raises RecipeError for one that is not here, or a precision that
    is none."""
    if precision not in ("auto", "fp32", "bf16"):
        raise RecipeError(f"precision: {precision!r} is none of auto, fp32, bf16.")
    return choose_device(device)
