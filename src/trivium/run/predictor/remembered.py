"""What was said of the last distinct rows of a table, so that a repeated row is not computed again.

Rows are known by a digest, and what was said of them lies in arrays: a text, a tuple of it and a
view of an array for every row would take a kilobyte each, scattered over the heap.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trivium.answering.says import Floats

MOST = 100_000
"""Distinct rows that are remembered of every task."""

_Digests = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Recalled:
    """Which rows of a part are known, and what is to be asked of the others."""

    new: list[tuple[str, ...]]
    """The texts of those that are not known, each once, in their order."""
    digest_U2: _Digests
    """Of the new ones, in two halves."""
    place_B: NDArray[np.int64]
    """Of each row: where it is remembered; or else, as -1, -2, …, which of the new ones it is."""


class Remembered:
    """Readouts of a task's last `most` distinct rows; the oldest make room."""

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self._digest_M2: _Digests = np.empty((0, 2), np.uint64)
        self._order_M: NDArray[np.int64] = np.empty(0, np.int64)
        """Of the digests' first halves."""
        self._readout_MK: Floats | None = None
        self._held = self._next = 0
        """How many rows are held, and the place that is filled next."""

    def recall(self, rows: Sequence[tuple[str, ...]]) -> Recalled:
        """rows: each row's texts."""
        numbers: dict[tuple[str, ...], int] = {}
        number_B = np.array([numbers.setdefault(row, len(numbers)) for row in rows], np.int64)
        distinct = list(numbers)
        digest_U2 = _digests(distinct)
        place_U = self._places(digest_U2)
        is_new_U = place_U < 0
        place_U[is_new_U] = -1 - np.arange(is_new_U.sum())
        new = [row for row, is_new in zip(distinct, is_new_U.tolist(), strict=True) if is_new]
        return Recalled(new, digest_U2[is_new_U], place_U[number_B])

    def answered(self, recalled: Recalled, said_UK: Floats | None) -> Floats:
        """What was said of a part's rows: readout_BK. From now on the new ones are known.

        said_UK: of the new ones; None where there are none. Nothing else was learned in between.
        """
        place_B, is_new_B = recalled.place_B, recalled.place_B < 0
        found = self._readout_MK if said_UK is None else said_UK
        assert found is not None, "rows that are known were learned"
        readout_BK = np.empty((len(place_B), found.shape[1]), found.dtype)
        if self._readout_MK is not None:
            readout_BK[~is_new_B] = self._readout_MK[place_B[~is_new_B]]
        if said_UK is not None:
            readout_BK[is_new_B] = said_UK[-1 - place_B[is_new_B]]
            self._learn(recalled.digest_U2, said_UK)
        return readout_BK

    def _places(self, digest_U2: _Digests) -> NDArray[np.int64]:
        """Where each is remembered; -1 of one that is not."""
        if not self._held:
            return np.full(len(digest_U2), -1)
        head_M = self._digest_M2[: self._held, 0]
        rank_U = np.searchsorted(head_M, digest_U2[:, 0], sorter=self._order_M)
        place_U = self._order_M[np.minimum(rank_U, self._held - 1)]
        return np.where((self._digest_M2[place_U] == digest_U2).all(axis=1), place_U, -1)

    def _learn(self, digest_U2: _Digests, said_UK: Floats) -> None:
        digest_U2, said_UK = digest_U2[-self.most :], said_UK[-self.most :]
        readout_MK = self._grown(len(said_UK), said_UK)
        place_U = (self._next + np.arange(len(said_UK))) % self.most
        self._digest_M2[place_U], readout_MK[place_U] = digest_U2, said_UK
        self._next = (self._next + len(said_UK)) % self.most
        self._held = min(self.most, self._held + len(said_UK))
        self._order_M = np.argsort(self._digest_M2[: self._held, 0], kind="stable")

    def _grown(self, more: int, said_UK: Floats) -> Floats:
        """The readouts, with room for so many more, or for all that are ever held."""
        if self._readout_MK is None:
            self._readout_MK = np.empty((0, said_UK.shape[1]), said_UK.dtype)
        needed, room = min(self.most, self._held + more), len(self._readout_MK)
        if needed > room:
            room = min(self.most, max(needed, 2 * room))
            readout_MK = np.empty((room, said_UK.shape[1]), said_UK.dtype)
            digest_M2 = np.empty((room, 2), np.uint64)
            readout_MK[: self._held] = self._readout_MK[: self._held]
            digest_M2[: self._held] = self._digest_M2[: self._held]
            self._readout_MK, self._digest_M2 = readout_MK, digest_M2
        return self._readout_MK


def _digests(rows: Sequence[tuple[str, ...]]) -> _Digests:
    """128 bits of each row: of two in 10^9 rows to be taken for one, the chance is 10^-21."""
    joined = b"".join(
        hashlib.blake2b(
            # With the lengths, since any character may stand in a text.
            "".join(f"{len(text)}:{text}" for text in row).encode("utf-8", "surrogatepass"),
            digest_size=16,
        ).digest()
        for row in rows
    )
    return np.frombuffer(joined, np.uint64).reshape(len(rows), 2)
