"""Word pieces to packed batches: special tokens, segments, cutting."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from trivium.text.tokenizer import Tokenizer
from trivium.types import Tokens

Ids = NDArray[np.int32]
Cut = Literal["head", "tail", "head_tail"]
"""Which part of a too long text is kept."""

FRONT: dict[Cut, float] = {"head": 1.0, "tail": 0.0, "head_tail": 0.25}
"""Share of what is kept that is from the text's start; the rest is from its end. A quarter: the
first 128 and the last 382 of 510 word pieces, the best choice of Sun et al. 2019, section 5.3.1."""


class TokenTable:
    """Every distinct text once, as word pieces in one flat array: 4 bytes a token."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._index: dict[str, int] = {}
        self._pieces: list[Ids] = []

    def add(self, texts: Sequence[str]) -> list[int]:
        """Index of each text; new texts are tokenised, known ones are not."""
        new = list(dict.fromkeys(text for text in texts if text not in self._index))
        for start in range(0, len(new), 10_000):
            part = new[start : start + 10_000]
            for text, ids in zip(part, self.tokenizer(part), strict=True):
                self._index[text] = len(self._pieces)
                self._pieces.append(np.asarray(ids, dtype=np.int32))
        return [self._index[text] for text in texts]

    def __getitem__(self, index: int) -> Ids:
        return self._pieces[index]

    def __len__(self) -> int:
        return len(self._pieces)


@dataclass(frozen=True, slots=True)
class Packer:
    """How one task's texts become sequences: how long, and whether a pair is one or two."""

    tokenizer: Tokenizer
    max_length: int
    """Word pieces of a sequence, special tokens included."""
    keeps: Cut = "head"
    """What of a text that is too long."""

    def length(self, pieces: Sequence[Ids]) -> int:
        """Tokens before cutting of the sequence that joins `pieces`."""
        return 1 + sum(len(ids) + 1 for ids in pieces)

    def pack(self, sequences: Sequence[Sequence[Ids]]) -> Tokens:
        """`[CLS] a [SEP]` or `[CLS] a [SEP] b [SEP]` for each sequence of one or two texts."""
        cls, sep = [self.tokenizer.cls], [self.tokenizer.sep]
        ids: list[Ids | list[int]] = []
        lengths: list[int] = []
        joined = any(len(pieces) > 1 for pieces in sequences)
        seconds: list[int] = []
        for pieces in sequences:
            kept = cut(pieces, self.max_length, self.keeps)
            ids.append(cls)
            for part in kept:
                ids += (part, sep)
            lengths.append(self.length(kept))
            seconds.append(len(kept[1]) + 1 if len(kept) > 1 else 0)
        ids_N = torch.from_numpy(np.concatenate(ids).astype(np.int64))
        length_R = np.asarray(lengths)
        starts_R = np.cumsum(length_R) - length_R
        position_N = np.arange(length_R.sum()) - np.repeat(starts_R, length_R)
        segments_N = torch.zeros_like(ids_N)
        if joined:
            first_R = np.repeat(length_R - np.asarray(seconds), length_R)
            segments_N = torch.from_numpy((position_N >= first_R).astype(np.int64))
        lengths_R = torch.from_numpy(length_R)
        return Tokens(
            ids_N, torch.from_numpy(position_N), segments_N, lengths_R, int(length_R.max())
        )


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
