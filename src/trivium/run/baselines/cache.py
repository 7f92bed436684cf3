"""What was computed once, on this machine: files of tensors by the hash of all they depend on.

They lie in `$TRIVIUM_CACHE`, or else in `trivium` in the user's folder of caches. Losing them costs
seconds; one that is damaged, or of another user, is made again.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from trivium.errors import RecipeError
from trivium.model.weights import Weights, read_tensors
from trivium.run.folder.atomic import write_bytes
from trivium.run.folder.names import TENSORS
from trivium.run.rows.shelf import PLACE, cache_home

__all__ = ["PLACE", "bytes_of", "cached"]

MOST_BYTES = 2**31
"""Of all files; those that were not used for the longest time go first."""


def cached(key: str, make: Callable[[], Weights]) -> Weights:
    """The tensors of this key, made where they are not kept. key: letters and digits, as a hash."""
    home = cache_home()
    if home is None:
        return make()
    path = home / f"{key}{TENSORS}"
    if path.is_file():
        with suppress(RecipeError, OSError):
            found = read_tensors(path)
            os.utime(path)
            return found
    made = {name: tensor.contiguous() for name, tensor in make().items()}
    with suppress(OSError):  # no room, or no right to write: then it is made each time
        home.mkdir(parents=True, exist_ok=True)
        write_bytes(path, save(made))
        _make_room(home)
    return made


def _make_room(home: Path) -> None:
    files = [(path.stat(), path) for path in home.glob(f"*{TENSORS}")]
    total = sum(found.st_size for found, _ in files)
    for found, path in sorted(files, key=lambda file: file[0].st_mtime):
        if total <= MOST_BYTES:
            return
        path.unlink(missing_ok=True)
        total -= found.st_size


def bytes_of(tensor: Tensor) -> bytes:
    """What a hash shall know of a tensor's numbers."""
    return tensor.detach().cpu().contiguous().flatten().view(-1).numpy().tobytes()
