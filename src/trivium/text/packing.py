"""Word pieces to packed batches: special tokens and segments."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from trivium.text.cutting import Cut, Ids, cut
from trivium.text.tokenizer import Tokenizer
from trivium.types import Tokens


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

    def several(self, indices: Iterable[int]) -> list[Ids]:
        """Word pieces of these texts."""
        return [self._pieces[index] for index in indices]

    def counts(self, indices: Iterable[int]) -> NDArray[np.int64]:
        """How many each of these texts has."""
        return np.asarray([len(self._pieces[index]) for index in indices], dtype=np.int64)

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
