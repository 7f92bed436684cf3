"""Rows with their labels in the task's words."""

from collections.abc import Iterator, Mapping

from trivium.errors import RecipeError
from trivium.parts.tasks import Task
from trivium.parts.tasks.cells import canonical
from trivium.text.tables import BadRow, Table
from trivium.types import Row

SHOWN_LABELS = 8


def relabelled(
    task: Task, split: str, table: Table, words: Mapping[str, str]
) -> Iterator[Row | BadRow]:
    """The table's rows with their labels in the task's words.

    Raises RecipeError at the end for a word that stood in no row: it is a mistake, most likely.
    """
    if not words:
        yield from table
        return
    seen: set[str] = set()
    for row in table:
        if isinstance(row, BadRow):
            yield row
            continue
        cell = row.cells[task.label]
        seen.update(map(canonical, task.labels_in(cell)))
        yield Row({**row.cells, task.label: task.relabelled(cell, words)}, row.line)
    if unknown := [label for label in words if label not in seen]:
        shown = ", ".join(map(repr, sorted(seen)[:SHOWN_LABELS]))
        more = f", … {len(seen):,} in all" if len(seen) > SHOWN_LABELS else ""
        raise RecipeError(
            f"task {task.name!r}: {split}: {table.name}: relabel: {unknown[0]!r} is nowhere in "
            f"column {task.label!r}, which holds {shown}{more}. Name one of those, or leave it out."
        )
