"""Files of tensors: read whole, by one name or in shards, and checked.

Nothing is ever unpickled but tensors, and none is larger than what its file holds.
"""

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from trivium.errors import RecipeError, first_line, os_error_in
from trivium.jsons import read_object, shown

Weights = dict[str, Tensor]

SAFE, PICKLED = "model.safetensors", "pytorch_model.bin"
INDEX = ".index.json"
"""Follows the name of a file that was cut into shards."""
NAMES = (SAFE, f"{SAFE}{INDEX}", "model-*-of-*.safetensors", PICKLED)
"""Patterns of the files that may hold a checkpoint's weights."""


def read_weights(folder: Path) -> Weights:
    """All tensors of a checkpoint, from one file or from the shards that an index names. Raises
    RecipeError."""
    if (folder / SAFE).is_file():
        return read_tensors(folder / SAFE)
    if (index := folder / f"{SAFE}{INDEX}").is_file():
        return _read_shards(index)
    if (folder / PICKLED).is_file():
        return _read_pickled(folder / PICKLED)
    if (folder / f"{PICKLED}{INDEX}").is_file():
        raise RecipeError(
            f"{folder / PICKLED}{INDEX}: weights in pickled shards are not read. Save the "
            "checkpoint as safetensors: transformers does with save_pretrained."
        )
    raise RecipeError(f"{folder}: has neither model.safetensors nor pytorch_model.bin.")


def read_tensors(path: Path) -> Weights:
    """A safetensors file, or one clear error."""
    try:
        return load_file(path)
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such file.") from None
    except (SafetensorError, OSError) as error:
        raise RecipeError(
            f"{path}: is truncated or not a safetensors file: {first_line(error)}"
        ) from error


def check_tensors(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], where: str) -> None:
    """Refuses a missing, an unexpected and a wrongly shaped tensor, by name."""
    if missing := sorted(wanted.keys() - found.keys()):
        raise RecipeError(
            f"{where}: tensor {missing[0]} is missing ({len(missing)} missing in all)."
        )
    if extra := sorted(found.keys() - wanted.keys()):
        raise RecipeError(
            f"{where}: tensor {extra[0]} has no place in this model ({len(extra)} such in all)."
        )
    for name, tensor in found.items():
        if tensor.shape != wanted[name].shape:
            shape, right = list(tensor.shape), list(wanted[name].shape)
            raise RecipeError(
                f"{where}: tensor {name} has shape {shape}, but config.json asks for {right}."
            )


# --- shards ------------------------------------------------------------------------------------


def _read_shards(index: Path) -> Weights:
    """The tensors that an index names, each from the shard that it is said to stand in."""
    places = read_object(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise RecipeError(
            f"{index}: has no table `weight_map` from tensors to files; it is no index of shards."
        )
    shards: dict[str, set[str]] = {}
    for tensor, file in places.items():
        # No more than a name: an index from elsewhere shall not lead out of its folder.
        if not (isinstance(file, str) and re.fullmatch(r"(?!\.)[\w.-]+\.safetensors", file)):
            raise RecipeError(
                f"{index}: says that {tensor} stands in {shown(file)}, which is no safetensors "
                "file of this folder."
            )
        shards.setdefault(file, set()).add(tensor)
    weights: Weights = {}
    for file, wanted in sorted(shards.items()):
        path = index.with_name(file)
        if not path.is_file():
            raise RecipeError(f"{path}: no such file, but {index.name} names it as a shard.")
        found = read_tensors(path)
        if missing := sorted(wanted - found.keys()):
            raise RecipeError(f"{path}: lacks {missing[0]}, which {index.name} says it holds.")
        if extra := sorted(found.keys() - wanted):
            raise RecipeError(f"{path}: holds {extra[0]}, of which {index.name} does not know.")
        weights |= found
    return weights


# --- pickles of tensors ------------------------------------------------------------------------


def _read_pickled(path: Path) -> Weights:
    _refuse_bomb(path)
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise RecipeError(
            f"{path}: cannot be read as weights: {first_line(error)}. "
            "It is truncated, or holds more than tensors."
        ) from error
    if not isinstance(weights, dict) or not all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in weights.items()
    ):
        raise RecipeError(f"{path}: is not a table of tensors.")
    for name, tensor in weights.items():
        # A view may repeat a few bytes for ever, until somebody makes a copy of it.
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise RecipeError(f"{path}: tensor {name} claims more numbers than the file holds.")
    return weights


def _refuse_bomb(path: Path) -> None:
    """An archive of PyTorch's is not compressed, so its entries are no larger than the file."""
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return  # torch says what is wrong with it
    if size > path.stat().st_size:
        raise RecipeError(
            f"{path}: is compressed, to less than the {size:,} bytes that it would become; "
            "checkpoints of PyTorch are not. It may be an attack."
        )


_UNREADABLE: tuple[type[Exception], ...] = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
)
"""What torch raises for a file that is damaged on purpose, too."""


def write_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """A safetensors file. Raises OSError for what the system refuses, as the library does not."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        save_file(plain, path, metadata={"format": "pt"})
    except SafetensorError as error:
        if refused := os_error_in(error, path):
            raise refused from error
        raise
