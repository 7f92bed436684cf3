"""The rows of a file that a recipe means, where one file holds those of several splits."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from trivium.text.tables import BadRow, Table
from trivium.types import Row


@dataclass(slots=True)
class Chosen:
    """Those whose cells are what `Source.where` says; a row that cannot be read may be one."""

    table: Table
    where: Mapping[str, tuple[str, ...]]
    left_out: int = 0
    """Rows of others, when the table was last read."""

    def __iter__(self) -> Iterator[Row | BadRow]:
        self.left_out = 0
        for row in self.table:
            if isinstance(row, BadRow) or self._is_meant(row):
                yield row
            else:
                self.left_out += 1

    def _is_meant(self, row: Row) -> bool:
        return all(row.cells[column].strip() in meant for column, meant in self.where.items())
