"""Endless shuffled rows of one task, resumable by one number."""

import zlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass
class Stream:
    """Which rows stand in the next batch.

    The rows of pass after pass, each freshly shuffled, are cut into epochs of `rows_per_epoch`
    (by default one pass), and each epoch into batches of `batch_size`; only the last batch of an
    epoch is smaller. Where the cut is, is a function of `seed`, `name` and `drawn` alone, so that
    restoring `drawn` restores the stream.
    """

    name: str
    rows: int
    batch_size: int
    seed: int
    rows_per_epoch: int
    drawn: int = 0
    """Batches drawn so far."""
    _pass: int = field(default=-1, repr=False)
    _order: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64), repr=False)

    @property
    def batches_per_epoch(self) -> int:
        return -(-self.rows_per_epoch // self.batch_size)

    def draw(self) -> NDArray[np.int64]:
        """Row numbers of the next batch."""
        epoch, batch = divmod(self.drawn, self.batches_per_epoch)
        first = batch * self.batch_size
        last = min(first + self.batch_size, self.rows_per_epoch)
        self.drawn += 1
        base = epoch * self.rows_per_epoch
        return np.asarray([self._row(base + place) for place in range(first, last)])

    def _row(self, place: int) -> int:
        number, offset = divmod(place, self.rows)
        if number != self._pass:
            entropy = [self.seed, zlib.crc32(self.name.encode()), number]
            self._order = np.random.default_rng(entropy).permutation(self.rows)
            self._pass = number
        return int(self._order[offset])
