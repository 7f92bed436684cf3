"""Cases of which `make test` tries some, and `make test-thorough` the others."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest


def some_of(cases: Iterable[Any], core: Callable[[Any], bool]) -> list[Any]:
    """Cases for `parametrize`, of one argument each; those not of the core are `thorough`."""
    return [
        case if core(case) else pytest.param(case, marks=pytest.mark.thorough) for case in cases
    ]
