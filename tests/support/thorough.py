"""Cases of which `make test` tries some, and `make test-thorough` the others."""

import zlib
from collections.abc import Callable, Iterable
from typing import Any

import pytest


def some_of(cases: Iterable[Any], core: Callable[[Any], bool]) -> list[Any]:
    """Cases for `parametrize`, of one argument each; those not of the core are `thorough`."""
    return [
        case if core(case) else pytest.param(case, marks=pytest.mark.thorough) for case in cases
    ]


def left_out(items: Iterable[pytest.Item], part: str) -> list[pytest.Item]:
    """What is thorough, but not of this part, such as 1/2."""
    thorough = (item for item in items if item.get_closest_marker("thorough"))
    return [item for item in thorough if not is_in(part, item.nodeid)]


def is_in(part: str, name: str) -> bool:
    """Whether a test is of it: drawn by its name, so that it is the same wherever that runs."""
    number, parts = map(int, part.split("/"))
    return zlib.crc32(name.encode()) % parts == number - 1
