"""Trained models put to use, in whatever they are to compute with."""

import shlex
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from trivium.errors import RecipeError
from trivium.garbage import without_collection
from trivium.run.folder.names import ENSEMBLE, MANIFEST, MODEL
from trivium.run.folder.sealed import begin_unsealing, read_sealed
from trivium.run.hub.fetch import local_folder
from trivium.run.predictor.base import Predictor

BACKENDS = {
    "torch": ("trivium.run.predictor.trained", "load_trained", "torch"),
    "onnx": ("trivium.run.predictor.onnx", "load_onnx", "onnxruntime"),
    "openvino": ("trivium.run.predictor.openvino", "load_openvino", "openvino"),
}
"""What computes: where its loader is, and the package that it needs; loaded when it is chosen."""
EXTRAS = {"torch": "train", "onnxruntime": "onnx", "openvino": "openvino"}
"""What to install for a package that is missing."""


def load(
    run: str | Path,
    *,
    revision: str | None = None,
    precision: str = "auto",
    device: str = "auto",
    backend: str = "auto",
) -> Predictor:
    """A run's model (or a model folder, an ensemble, an exported folder), verified and ready.

    run: a folder; or user/name, a model on the hub, where no such folder is here. revision: a
    branch, tag or commit of the hub's model. precision: fp32, bf16, or auto: the one it was trained
    in, but fp32 where the device does not compute in bf16. backend: torch, onnx, openvino, or auto:
    what the folder was written for. Raises RecipeError where a file or tensor is missing,
    unexpected or altered, and where the hub does not give the model.

        model = trivium.load("runs/first")
        model.predict("topic", ["Where is my parcel?"])
        model.probabilities("same_question", [("Where is my parcel?", "Has my order been sent?")])
    """
    folder = local_folder(run, revision)
    chosen = backend_of(folder, backend)
    home = _home(folder)
    # All bytes of the files are hashed, which takes no less time than half of what else there is.
    unsealed = begin_unsealing(home, MANIFEST) if home is not None else None
    with without_collection():
        loader = _loader(run, chosen)
        predictor: Predictor = loader(folder, precision=precision, device=device, unsealed=unsealed)
    predictor.folder = folder
    return predictor


def _loader(run: str | Path, chosen: str) -> Callable[..., Predictor]:
    module, name, package = BACKENDS[chosen]
    try:
        import_module(package)
    except ImportError as error:
        raise RecipeError(
            f"{run}: to answer with {chosen}, {package} is needed, which is not installed "
            f'({error}). Do: pip install "trivium[{EXTRAS[package]}]"'
        ) from error
    loader: Callable[..., Predictor] = getattr(import_module(module), name)
    return loader


def _home(folder: Path) -> Path | None:
    """Where a single model's files are; None of an ensemble, and of a folder that has none."""
    if (folder / ENSEMBLE).is_file():
        return None
    return next((home for home in (folder / MODEL, folder) if (home / MANIFEST).is_file()), None)


def backend_of(folder: Path, asked: str) -> str:
    """What the folder was written for; it must be what is asked for, unless that is `auto`."""
    if asked not in ("auto", *BACKENDS):
        raise RecipeError(f"backend: {asked!r} is none of auto, {', '.join(BACKENDS)}.")
    # A folder with neither is no model's; the loader of PyTorch's knows all that it can say.
    home, written = _home(folder), "torch"
    if home is not None:
        written = str(read_sealed(home / MANIFEST).get("backend", "torch"))
    if written not in BACKENDS:
        raise RecipeError(
            f"{folder}: is written for {written!r}, which this version does not know "
            f"({', '.join(BACKENDS)})."
        )
    if asked in ("auto", written):
        return written
    if written == "torch":
        raise RecipeError(
            f"{folder}: is a model for torch. Write it for {asked} first: "
            f"trivium export {shlex.quote(str(folder))} --to {asked} --out FOLDER"
        )
    raise RecipeError(f"{folder}: is written for {written}, not for {asked}; leave --backend out.")
