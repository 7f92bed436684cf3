"""The compiled module, opened by `ctypes`; None where there is none, or nothing to run it on."""

import ctypes
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

FILE = Path(__file__).parents[2] / "_native.so"
SWITCH = "TRIVIUM_NATIVE"
"""Environment variable: 0 computes in PyTorch, `vectors` leaves the tiles of AMX unused."""

VECTORS, TILES = 1, 2
"""What the module calls a processor's abilities."""

_POINTER, _LONG, _INT = ctypes.c_void_p, ctypes.c_long, ctypes.c_int
_FLOAT, _SEED = ctypes.c_float, ctypes.c_uint64

_TAKES: dict[str, tuple[Any, ...]] = {
    "pack": (_POINTER, _LONG, _LONG, _POINTER, _POINTER, _LONG, _LONG),
    "product": (
        _INT, _POINTER, _LONG, _LONG, _POINTER, _LONG, _POINTER, _POINTER, _POINTER, _POINTER,
    ),
    "product_norm": (
        _POINTER, _LONG, _LONG, _POINTER, _LONG, _POINTER, _POINTER, _FLOAT, _SEED, _POINTER,
        _POINTER, _FLOAT, _POINTER, _POINTER, _POINTER, _POINTER, _POINTER,
    ),
    "norm_back": (
        _POINTER, _POINTER, _POINTER, _POINTER, _POINTER, _FLOAT, _LONG, _LONG, _POINTER, _POINTER,
        _POINTER, _POINTER, _POINTER,
    ),
    "weight_gradient": (_POINTER, _POINTER, _LONG, _LONG, _LONG, _POINTER, _POINTER, _POINTER),
    "attention": (
        _POINTER, _POINTER, _POINTER, _POINTER, _LONG, _LONG, _LONG, _FLOAT, _SEED, _POINTER,
        _POINTER, _POINTER,
    ),
    "attention_back": (
        _POINTER, _POINTER, _POINTER, _POINTER, _POINTER, _LONG, _LONG, _LONG, _FLOAT, _POINTER,
        _POINTER, _POINTER,
    ),
    "squares": (_LONG, _POINTER, _POINTER, _POINTER, _POINTER),
    "adamw": (_LONG, _POINTER, _POINTER, _POINTER, _POINTER, _POINTER, _POINTER, _FLOAT),
    "rows": (
        _POINTER, _POINTER, _POINTER, _POINTER, _POINTER, _LONG, _LONG, _POINTER, _LONG, _POINTER,
        _FLOAT,
    ),
    "row_sums": (_POINTER, _POINTER, _POINTER, _LONG, _LONG, _POINTER),
    "use": (_INT, _INT),
}  # fmt: skip
"""Every function and what it takes, as its source in `native/` says."""


class Library:
    """The module's functions, each under its name there without `trivium_`."""

    pack: Callable[..., None]
    product: Callable[..., None]
    product_norm: Callable[..., None]
    norm_back: Callable[..., None]
    weight_gradient: Callable[..., None]
    attention: Callable[..., None]
    attention_back: Callable[..., None]
    squares: Callable[..., None]
    adamw: Callable[..., None]
    rows: Callable[..., None]
    row_sums: Callable[..., None]
    use: Callable[[int, int], None]

    def __init__(self, opened: ctypes.CDLL) -> None:
        for name, takes in _TAKES.items():
            function = opened[f"trivium_{name}"]
            function.argtypes, function.restype = takes, None
            setattr(self, name, function)


def library() -> Library | None:
    """The module, if this process may use it, with as many threads as PyTorch has."""
    switch = os.environ.get(SWITCH, "1")
    if switch == "0" or (found := _opened()) is None:
        return None
    opened, able = found
    opened.use(VECTORS if switch == "vectors" else able, torch.get_num_threads())
    return opened


@cache
def _opened() -> tuple[Library, int] | None:
    if not FILE.exists():
        return None
    try:
        # Importing torch has put its OpenMP among the symbols of the process.
        found = ctypes.CDLL(str(FILE))
    except OSError:  # built for another system, or beside a PyTorch without OpenMP
        return None
    able = int(found.trivium_supports())
    return (Library(found), able) if able else None


def at(tensor: Tensor | None) -> int | None:
    """Where a tensor's numbers begin; the kernels take them as lying row after row."""
    return None if tensor is None else tensor.data_ptr()
