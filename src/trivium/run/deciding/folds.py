"""Rows dealt into parts, so that each may be decided upon by what was found on the others."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trivium.types import Example

FOLDS = 5


def folds_of(examples: Sequence[Example], folds: int = FOLDS) -> NDArray[np.int64]:
    """The part of each row: fold_B. Every label has its share in each; rows with the same texts are
    in the same part. By a hash of the texts, so that the rows' order does not matter."""
    keys = [(str(each.target), _hash(each.texts)) for each in examples]
    place: dict[str, int] = {}
    # Label by label, so that parts differ by one row of each at most; one count for all of them,
    # so that rare labels do not all come into the first.
    for _, key in sorted(set(keys)):
        place.setdefault(key, len(place) % folds)
    return np.array([place[key] for _, key in keys], dtype=np.int64)


def _hash(texts: tuple[str, ...]) -> str:
    text = "\0".join(texts)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
