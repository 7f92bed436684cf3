"""Tables of any size on their way through a predictor, part by part."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from trivium.errors import RecipeError, refuse_no_path
from trivium.run.folder.atomic import refuse_source, refuse_unwritable, refuse_url
from trivium.run.folder.locks import alone
from trivium.text.tables import BadRow, Table
from trivium.types import Row


@contextmanager
def alone_at(source: str | Path, target: str | Path, *, overwrite: bool) -> Iterator[None]:
    """Refuse a file that is not to be written, before any work; in the block, nobody else may."""
    refuse_no_path(source, "the table")
    refuse_no_path(target, "the file of the answers")
    if str(target) == "-":
        yield
        return
    refuse_url(target)
    path = Path(os.path.abspath(target))
    refuse_source(path, [source], "its answers go")
    refuse_unwritable(path, overwrite=overwrite, example="answers.csv")
    with alone(path):
        # Once more: another process may just have written it.
        refuse_unwritable(path, overwrite=overwrite, example="answers.csv")
        yield


def good_rows(table: Table) -> Iterator[Row]:
    """Every row. Raises RecipeError for the first that could not be read."""
    for row in table:
        if isinstance(row, BadRow):
            raise RecipeError(f"{table.name}:{row.line}: {row.problem}")
        yield row


def batched(rows: Iterator[Row], size: int) -> Iterator[list[Row]]:
    """Rows in lists of so many, the last one shorter."""
    while part := list(islice(rows, size)):
        yield part
