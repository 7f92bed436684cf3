"""The compiled kernels, where this machine has them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from trivium.model.native.library import AVX2, SWITCH, TILES, VECTORS, Library, library, products
from trivium.run.assembly.device import precision_name

KINDS = {"vectors": "vectors", "tiles": "1", "avx2": "avx2"}
"""What the switch says for each kind of products."""
_CALLED = {"vectors": VECTORS, "tiles": TILES, "avx2": AVX2}


def kernels(kind: str = "") -> Library:
    """The kernels of a kind, by default those that this machine uses; the test is skipped where
    there are none."""
    with switched(KINDS[kind] if kind else "1"):
        found, products_found = library(), products()
    if found is None or (kind and products_found != _CALLED[kind]):
        pytest.skip(f"no native module, or no processor for it: {kind or 'of any kind'}")
    return found


def kernels_precision() -> torch.dtype:
    """What layers are computed in by the kernels that this machine uses; without any: bf16."""
    with switched("1"):
        found = library()
    return torch.bfloat16 if found is None else found.form.numbers


def kernels_precision_name() -> str:
    """The same, as recipes have it."""
    return precision_name(kernels_precision())


@contextmanager
def switched(value: str) -> Iterator[None]:
    """The switch of the native module, for a while."""
    before = os.environ.get(SWITCH)
    os.environ[SWITCH] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[SWITCH]
        else:
            os.environ[SWITCH] = before


@contextmanager
def threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
