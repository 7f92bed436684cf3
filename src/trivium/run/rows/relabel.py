"""Rows with their labels in the task's words."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from trivium.errors import RecipeError
from trivium.parts.tasks import Task
from trivium.parts.tasks.cells import spellings
from trivium.parts.tasks.sources import Relabel
from trivium.run.rows.chosen import Chosen
from trivium.text.tables import BadRow
from trivium.types import Row

SHOWN_LABELS = 8


@dataclass(slots=True)
class Heard:
    """What was found while rows were read."""

    asked: set[str] = field(default_factory=set)
    """Words of `relabel` that stood in some row."""
    stood: set[str] = field(default_factory=set)
    """Labels, as they stood in the file; empty where nothing is relabelled."""


def relabelled(
    task: Task, split: str, rows: Chosen, words: Mapping[str, str]
) -> Iterator[Row | BadRow]:
    """Rows with their labels in the task's words.

    Raises RecipeError at the end for a word that stood in no row: it is a mistake, most likely.
    """
    heard = Heard()
    yield from in_words(task, rows, words, heard)
    refuse_unheard(task, f"{split}: {rows.table.name}", words, heard)


def in_words(
    task: Task, rows: Iterable[Row | BadRow], words: Mapping[str, str], heard: Heard
) -> Iterator[Row | BadRow]:
    """As `relabelled`, of rows that are not all of a file's: what was heard is noted."""
    if not words:
        yield from rows
        return
    relabel = Relabel(words)
    relabel.asked = heard.asked
    for row in rows:
        if isinstance(row, BadRow):
            yield row
            continue
        cell = row.cells[task.label]
        heard.stood.update(label.strip() for label in task.labels_in(cell))
        yield Row({**row.cells, task.label: task.relabelled(cell, relabel)}, row.line)


def refuse_unheard(task: Task, where: str, words: Mapping[str, str], heard: Heard) -> None:
    """RecipeError for a word that stood in no row. where: the split and its file."""
    if unknown := [label for label in words if label not in heard.asked]:
        spelt = sorted(set(spellings(heard.stood).values()))
        shown = ", ".join(map(repr, spelt[:SHOWN_LABELS]))
        more = f", … {len(spelt):,} in all" if len(spelt) > SHOWN_LABELS else ""
        raise RecipeError(
            f"task {task.name!r}: {where}: relabel: {unknown[0]!r} is nowhere in "
            f"column {task.label!r}, which holds {shown}{more}. Name one of those, or leave it out."
        )
