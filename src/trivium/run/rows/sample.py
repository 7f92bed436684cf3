"""A sample of a file's rows: the same in every run, whatever its seed."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")


def sample(rows: Sequence[Item], most: int | None) -> list[Item]:
    """At most so many, in their order. A smaller sample is part of every larger one."""
    if most is None or len(rows) <= most:
        return list(rows)
    drawn = np.random.default_rng(0).permutation(len(rows))[:most]
    return [rows[place] for place in np.sort(drawn)]
