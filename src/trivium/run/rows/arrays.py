"""Files of arrays with facts beside them, written whole and mapped into memory, not read into it.

They are safetensors: a header in JSON says where in the file each array is.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save

from trivium.errors import RecipeError

Array = NDArray[Any]
_KINDS = {"U8": np.uint8, "U16": np.uint16, "U32": np.uint32, "I32": np.int32, "I64": np.int64,
          "U64": np.uint64, "F64": np.float64}  # fmt: skip
FRESH = ".new"
"""Ending of a file that is being written."""


@dataclass(frozen=True, slots=True)
class Arrays:
    """The content of a file."""

    arrays: Mapping[str, Array]
    facts: Mapping[str, Any]

    def __getitem__(self, name: str) -> Array:
        return self.arrays[name]


def write_arrays(path: Path, arrays: Mapping[str, Array], facts: Mapping[str, Any]) -> None:
    """A file that is there whole or not at all. facts: what JSON can hold. Raises RecipeError where
    it cannot be written."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.{token_hex(4)}{FRESH}")
    try:
        content = save(dict(arrays), metadata={"facts": json.dumps(facts)})
        # By Python: `save_file` writes under a name of its own, which nobody sweeps where it is
        # killed.
        with fresh.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # else a power cut may leave the name on an empty file
        fresh.replace(path)
    except (OSError, SafetensorError) as error:
        raise RecipeError(
            f"{path.parent}: what is read of a big table cannot be written there ({error}). Make "
            "room, or name another folder in the environment variable TRIVIUM_CACHE; what was "
            "written is kept."
        ) from error
    finally:
        fresh.unlink(missing_ok=True)


def read_arrays(path: Path) -> Arrays | None:
    """Mapped; None where there is no such file, or it is not whole."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        size = path.stat().st_size
        with path.open("rb") as file:
            start = 8 + int.from_bytes(file.read(8), "little")
            if start > size:
                return None
            header = json.loads(file.read(start - 8))
        facts = json.loads(header.pop("__metadata__")["facts"])
        if max((told["data_offsets"][1] for told in header.values()), default=0) + start != size:
            return None
        # One map of the file, of which each array is a window.
        whole = np.memmap(path, np.uint8, "r") if size > start else np.empty(start, np.uint8)
        return Arrays({name: _window(whole, start, told) for name, told in header.items()}, facts)
    return None


def _window(whole: Array, start: int, told: Mapping[str, Any]) -> Array:
    first, last = (start + place for place in told["data_offsets"])
    window: Array = whole[first:last].view(_KINDS[told["dtype"]]).reshape(told["shape"])
    # A plain array: every slice of a memmap costs microseconds.
    return window.view(np.ndarray)
