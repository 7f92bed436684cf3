"""The compiled module, opened by `ctypes`; None where there is none, or nothing to run it on."""

import ctypes
import logging
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from trivium.errors import first_line

LOG = logging.getLogger("trivium.model")
_FOLDER = Path(__file__).parents[2] / "_native"
NAMED = "TRIVIUM_NATIVE_FILE"
FILES = (
    (Path(os.environ[NAMED]),)
    if os.environ.get(NAMED)
    else (_FOLDER / "kernels.so", _FOLDER / "kernels_avx2.so")
)
"""The first that this processor can run is used. One can be named, as one that checks itself."""
SWITCH = "TRIVIUM_NATIVE"
"""Environment variable: 0 computes in PyTorch, `vectors` leaves the tiles of AMX unused, `avx2`
takes what a processor with AVX2 alone would."""

INTERFACE = 3
"""Which functions the module has, and what they take: `native/cpu.c` says the same number."""

VECTORS, TILES, AVX2, WIDER = 1, 2, 3, 4
"""What the module calls a processor's abilities: products of bf16 in AVX-512, in tiles of AMX; of
fp32 in AVX2, and that on a processor whose vectors are twice as wide: PyTorch uses those."""


class _Numbers:
    """A tensor, or None, as an argument: where its numbers begin.

    ctypes asks for it during the call, so that a tensor that nobody else holds lives as long.
    """

    @classmethod
    def from_param(cls, tensor: Tensor | None) -> ctypes.c_void_p:
        if tensor is None:
            return ctypes.c_void_p(None)
        assert tensor.is_contiguous(), "the kernels read row after row"
        return ctypes.c_void_p(tensor.data_ptr())


_LONG, _INT, _FLOAT, _SEED = ctypes.c_long, ctypes.c_int, ctypes.c_float, ctypes.c_uint64

_TAKES: dict[str, tuple[Any, ...]] = {
    "pack": (_Numbers, _LONG, _LONG, _Numbers, _Numbers, _LONG, _LONG),
    "product": (
        _INT, _Numbers, _LONG, _LONG, _Numbers, _LONG, _Numbers, _Numbers, _Numbers, _Numbers,
    ),
    "product_norm": (
        _Numbers, _LONG, _LONG, _Numbers, _LONG, _Numbers, _Numbers, _FLOAT, _SEED, _Numbers,
        _Numbers, _FLOAT, _Numbers, _Numbers, _Numbers, _Numbers, _Numbers,
    ),
    "norm_back": (
        _Numbers, _Numbers, _Numbers, _Numbers, _Numbers, _FLOAT, _LONG, _LONG, _Numbers, _Numbers,
        _Numbers, _Numbers, _Numbers,
    ),
    "weight_gradient": (_Numbers, _Numbers, _LONG, _LONG, _LONG, _Numbers, _Numbers, _Numbers),
    "encode": (
        _Numbers, _LONG, _Numbers, _LONG, _LONG, _LONG, _LONG, _Numbers, _Numbers, _Numbers, _LONG,
        _FLOAT, _INT, _Numbers, _Numbers,
    ),
    "gradient_room": (_LONG, _LONG, _LONG),
    "attention": (
        _Numbers, _Numbers, _Numbers, _Numbers, _LONG, _LONG, _LONG, _FLOAT, _SEED, _Numbers,
        _Numbers, _Numbers,
    ),
    "attention_back": (
        _Numbers, _Numbers, _Numbers, _Numbers, _Numbers, _LONG, _LONG, _LONG, _FLOAT, _Numbers,
        _Numbers, _Numbers,
    ),
    "squares": (_LONG, _Numbers, _Numbers, _Numbers, _Numbers),
    "adamw": (_LONG, _Numbers, _Numbers, _Numbers, _Numbers, _Numbers, _Numbers, _FLOAT),
    "rows": (
        _Numbers, _Numbers, _Numbers, _Numbers, _Numbers, _LONG, _LONG, _Numbers, _LONG, _Numbers,
        _FLOAT,
    ),
    "row_sums": (_Numbers, _Numbers, _Numbers, _LONG, _LONG, _Numbers),
    "gram": (_LONG, _LONG, _Numbers, _Numbers, _Numbers),
    "weighted_sums": (_LONG, _LONG, _Numbers, _Numbers, _Numbers, _Numbers),
    "use": (_INT, _INT),
}  # fmt: skip
"""Every function and what it takes, as its source in `native/` says."""

_ANSWERS = ("gradient_room",)
"""Those that answer with a number."""


class Form(NamedTuple):
    """How the module has a layer's numbers in memory."""

    numbers: torch.dtype
    """What it computes layers in."""
    panel: int
    """Columns of a weight that stand together, as `PANEL` in `native/common.h`."""

    def whole_panels(self, columns: int) -> int:
        """Columns with those, of zeros, that the last panel is filled with."""
        return -(-columns // self.panel) * self.panel


class Library:
    """The module's functions, each under its name there without `trivium_`."""

    form: Form

    pack: Callable[..., None]
    product: Callable[..., None]
    product_norm: Callable[..., None]
    norm_back: Callable[..., None]
    weight_gradient: Callable[..., None]
    gradient_room: Callable[[int, int, int], int]
    attention: Callable[..., None]
    attention_back: Callable[..., None]
    encode: Callable[..., None]
    squares: Callable[..., None]
    adamw: Callable[..., None]
    rows: Callable[..., None]
    row_sums: Callable[..., None]
    gram: Callable[..., None]
    weighted_sums: Callable[..., None]
    use: Callable[[int, int], None]

    def __init__(self, opened: ctypes.CDLL, able: int) -> None:
        low = able in (VECTORS, TILES)
        self.form = Form(torch.bfloat16, panel=48) if low else Form(torch.float32, panel=16)
        for name, takes in _TAKES.items():
            function = opened[f"trivium_{name}"]
            function.argtypes = takes
            function.restype = _LONG if name in _ANSWERS else None
            setattr(self, name, function)


def library() -> Library | None:
    """The module, if this process may use it, with as many threads as PyTorch has."""
    if (found := _found()) is None:
        return None
    opened, able = found
    opened.use(able, torch.get_num_threads())
    return opened


def products() -> int:
    """Which products `library` computes with: VECTORS, TILES or AVX2; 0 where it is PyTorch that
    does."""
    return 0 if (found := _found()) is None else found[1]


def _found() -> tuple[Library, int] | None:
    """What is to be used, and with which products."""
    switch = os.environ.get(SWITCH, "1")
    if switch == "0":
        return None
    for path in FILES:
        opened = _opened(path)
        if opened is None:
            continue
        made, able = opened
        if able in (VECTORS, TILES) and switch != "avx2":
            return made, VECTORS if switch == "vectors" else able
        if able == AVX2 or (able == WIDER and switch == "avx2"):
            return made, AVX2
    return None


def fitting(width: int, heads: int, inner: int) -> Library | None:
    """`library`, if it has layers of such widths: of the encoder, and between its products."""
    if width % 32 or inner % 32 or width // heads % 16:
        return None
    return library()


@cache
def _opened(path: Path) -> tuple[Library, int] | None:
    if not (path.exists() or os.environ.get(NAMED)):
        return None
    try:
        # Importing torch has put its OpenMP among the symbols of the process.
        found = ctypes.CDLL(str(path))
    except OSError as error:  # built for another system, or beside a PyTorch without OpenMP
        _tell_unused(path, first_line(error))
        return None
    # Asked first: what this processor could not run in any case is no news.
    able = int(found.trivium_supports()) if hasattr(found, "trivium_supports") else -1
    if able == 0:
        return None
    if not hasattr(found, "trivium_interface") or found.trivium_interface() != INTERFACE:
        _tell_unused(path, "they were built from other sources")
        return None
    return Library(found, able), able


def _tell_unused(path: Path, why: str) -> None:
    """Else nobody would know why all takes several times as long."""
    LOG.warning(
        "%s: these compiled kernels cannot be used (%s); what they would do is computed without "
        "them, slower. Install trivium anew to have them built, or set %s=0 to do without.",
        path, why, SWITCH,
    )  # fmt: skip
