"""A training that dies in the midst."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from trivium.run.training import loop, step


@contextmanager
def dies_in_step(number: int) -> Iterator[None]:
    """Inside, a training is left before its step of that number, counted over all stages from 1."""
    real, taken = step.train_step, 0

    def die_in_it(*arguments: Any) -> Any:
        nonlocal taken
        taken += 1
        if taken == number:
            raise KeyboardInterrupt
        return real(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "train_step", die_in_it)
        with pytest.raises(KeyboardInterrupt):
            yield
