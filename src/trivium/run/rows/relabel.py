"""Rows with their labels in the task's words."""

from collections.abc import Iterator, Mapping

from trivium.errors import RecipeError
from trivium.parts.tasks import Task
from trivium.parts.tasks.cells import spellings
from trivium.parts.tasks.sources import Relabel
from trivium.run.rows.chosen import Chosen
from trivium.text.tables import BadRow
from trivium.types import Row

SHOWN_LABELS = 8


def relabelled(
    task: Task, split: str, rows: Chosen, words: Mapping[str, str]
) -> Iterator[Row | BadRow]:
    """Rows with their labels in the task's words.

    Raises RecipeError at the end for a word that stood in no row: it is a mistake, most likely.
    """
    if not words:
        yield from rows
        return
    relabel, stood = Relabel(words), set[str]()
    for row in rows:
        if isinstance(row, BadRow):
            yield row
            continue
        cell = row.cells[task.label]
        stood.update(label.strip() for label in task.labels_in(cell))
        yield Row({**row.cells, task.label: task.relabelled(cell, relabel)}, row.line)
    name = rows.table.name
    if unknown := [label for label in words if label not in relabel.asked]:
        spelt = sorted(set(spellings(stood).values()))
        shown = ", ".join(map(repr, spelt[:SHOWN_LABELS]))
        more = f", … {len(spelt):,} in all" if len(spelt) > SHOWN_LABELS else ""
        raise RecipeError(
            f"task {task.name!r}: {split}: {name}: relabel: {unknown[0]!r} is nowhere in "
            f"column {task.label!r}, which holds {shown}{more}. Name one of those, or leave it out."
        )
