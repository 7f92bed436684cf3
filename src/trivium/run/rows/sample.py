"""A sample of a file's rows: the same in every run, whatever its seed."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Item = TypeVar("Item")


def sample(rows: Sequence[Item], most: int | None) -> list[Item]:
    """At most so many, in their order. A smaller sample is part of every larger one."""
    places = sample_places(len(rows), most)
    return list(rows) if places is None else [rows[place] for place in places.tolist()]


def sample_places(rows: int, most: int | None) -> NDArray[np.int64] | None:
    """The numbers of those of so many rows, rising; None where all are used."""
    if most is None or rows <= most:
        return None
    return np.sort(np.random.default_rng(0).permutation(rows)[:most])
