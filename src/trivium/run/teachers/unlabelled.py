"""Text without labels that teachers answer, and what of it stands in a task's own files."""

from pathlib import Path

from trivium.parts.tasks import RowError, Source, Task
from trivium.run.rows.chosen import Chosen
from trivium.run.rows.load import read_rows
from trivium.run.rows.places import path_of
from trivium.run.rows.refusals import refuse_bad_rows
from trivium.run.rows.splits import JUDGED, FileRows, Split
from trivium.text.tables import BadRow
from trivium.types import Example


def own_rows(task: Task, home: Path, train: Split) -> set[tuple[str, ...]]:
    """What stands in a task's files: rows of training files that have a label, whether they are
    trained on, held out or left out of a sample; and every row of the others."""
    rows = {bare(example) for example in train.examples}
    drawn = [split for split in JUDGED if task.drawn(split)]
    for source in task.sources("train") if train.is_sample or drawn else ():
        whole, _ = read_rows(task, "train", path_of(home, source), source)
        rows |= {bare(example) for example in whole.examples}
    others = (source for split in JUDGED if split not in drawn for source in task.sources(split))
    for source in others:
        held_out = read_unlabelled(task, path_of(home, source), source)
        rows |= {bare(example) for example in held_out.examples}
    return rows


def bare(example: Example) -> tuple[str, ...]:
    """The texts, in whatever order and space they stand."""
    return tuple(sorted(text.strip() for text in example.texts))


# --- text without labels -------------------------------------------------------------------------


def read_unlabelled(task: Task, path: Path, source: Source | None = None) -> Split:
    """The texts of a file's rows. Raises RecipeError naming bad rows by file and line."""
    where, encoding = (source.where, source.encoding) if source else ({}, None)
    table = task.open_table(path, (*task.text_columns, *where), encoding)
    examples: list[Example] = []
    bad: list[BadRow] = []
    for row in Chosen(table, where):
        if isinstance(row, BadRow):
            bad.append(row)
            continue
        try:
            examples.append(Example(task.texts_of(row), None, row.line))
        except RowError as error:
            bad.append(BadRow(row.line, str(error)))
    refuse_bad_rows(task, "unlabelled", table, bad)
    return Split("unlabelled", (FileRows(table, 0, len(examples), bad),), examples)
