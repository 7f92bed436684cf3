"""Rows beyond those whose cells are kept: what is counted of them, so that what a recipe says of a
file is true of all of it."""

from collections import Counter

from trivium.run.drafting.columns import MISSING, MOST_LABELS, Column, number_of

MOST_CELLS = 100_000
"""Different ones that are counted; of more numbers, only what tells their range is kept."""
MOST_ODD = 100


class Rest:
    """What stands in a column, row after row, once its first cells told what it may hold.

    Texts and the like are not counted: nothing that is said of them needs all rows.
    """

    def __init__(self, first: Column) -> None:
        self.first = first
        self.counts: Counter[str] = Counter()
        self.empty = 0
        self._are_numbers = first.numbers is not None
        self._is_counted = self._are_numbers or len(first.counts) <= MOST_LABELS

    def add(self, cell: str) -> None:
        if not (cell := cell.strip()):
            self.empty += 1
        elif self._is_counted:
            self.counts[cell] += 1
            if len(self.counts) > MOST_CELLS:
                self._shorten()

    @property
    def column(self) -> Column:
        """The first cells with what was counted since."""
        return Column(self.first.name, self.first.cells, self.counts, self.empty)

    def _shorten(self) -> None:
        """Keep the lowest number and the highest, and what is none; of words, count no more."""
        numbers = {cell: n for cell in self.counts if (n := number_of(cell)) is not None}
        if not (self._are_numbers and numbers):
            self._is_counted = False
            return
        odd = [cell for cell in self.counts if cell not in numbers][:MOST_ODD]
        odd += [cell for cell in self.counts if cell.lower() in MISSING]
        ends = [min(numbers, key=numbers.__getitem__), max(numbers, key=numbers.__getitem__)]
        self.counts = Counter({cell: self.counts[cell] for cell in (*ends, *odd)})
