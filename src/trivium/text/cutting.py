"""Which word pieces of a text that is too long are kept."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]
Cut = Literal["head", "tail", "head_tail"]
"""Which part of a too long text is kept."""

FRONT: dict[Cut, float] = {"head": 1.0, "tail": 0.0, "head_tail": 0.25}
"""Share of what is kept that is from the text's start; the rest is from its end. A quarter: the
first 128 and the last 382 of 510 word pieces, the best choice of Sun et al. 2019, section 5.3.1."""


def cut(pieces: Sequence[Ids], max_length: int, keeps: Cut = "head") -> list[Ids]:
    """Cut to `max_length` tokens in all, the longer text of a pair first.

    keeps: which part stays of each text that loses some.
    """
    room = max_length - 1 - len(pieces)
    if sum(len(ids) for ids in pieces) <= room:
        return list(pieces)
    if len(pieces) == 1:
        return [_part(pieces[0], room, keeps)]
    first, second = len(pieces[0]), len(pieces[1])
    short = min(first, second)
    if short > room // 2:  # both are too long: half each, an odd place to the longer one
        keep_short, keep_long = room // 2, room - room // 2
    else:
        keep_short, keep_long = short, room - short
    left, right = (keep_long, keep_short) if first > second else (keep_short, keep_long)
    return [_part(pieces[0], left, keeps), _part(pieces[1], right, keeps)]


def _part(ids: Ids, length: int, keeps: Cut) -> Ids:
    """`length` pieces of a text, or all if it has no more."""
    if len(ids) <= length:
        return ids
    front = int(FRONT[keeps] * length + 0.5)
    back = len(ids) - (length - front)
    return ids[:length] if keeps == "head" else np.concatenate((ids[:front], ids[back:]))
