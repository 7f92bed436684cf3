"""The compiled kernels, where this machine has them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from trivium.model.native.library import SWITCH, Library, library

KINDS = {"vectors": "vectors", "tiles": "1"}
"""What the switch says for each kind of products."""


def kernels(kind: str = "vectors") -> Library:
    """The kernels of a kind; the test is skipped where there are none."""
    with switched(KINDS[kind]):
        found = library()
    if found is None:
        pytest.skip("no native module, or no processor for it")
    if kind == "tiles" and not has_tiles():
        pytest.skip("this processor has no AMX")
    return found


def has_tiles() -> bool:
    return torch.cpu._is_amx_tile_supported()


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
