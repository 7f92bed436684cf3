"""`trivium predict`: every row of a table answered, in constant memory."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from trivium.errors import RecipeError
from trivium.parts.tasks import Task
from trivium.run.predictor.base import Predictor
from trivium.run.predictor.load import load
from trivium.run.predictor.submission import CS224N, FORMS, ID, Submission
from trivium.text.tables import BadRow, Table, write_table
from trivium.text.writing import write_lines
from trivium.types import Answer, Row

ROWS_AT_ONCE = 4096


def predict_file(
    run: str | Path | Predictor,
    task: str,
    source: str | Path,
    target: str | Path,
    *,
    probabilities: bool = False,
    form: str = "table",
    precision: str = "auto",
    device: str = "auto",
    console: Console | None = None,
) -> int:
    """Answer every row of a table into another table; the number of rows.

    All columns of the source are kept, in order, and `prediction` (and `confidence`; with
    `probabilities`, one column per label) is added. "-" is standard input or output. form: `table`,
    in the format of the target's ending, or `cs224n`: see `predictor.submission`. Memory does not
    grow with the file. A bad row ends it with RecipeError naming the line, before the target is
    touched.

        messages = "recipes/data/support-desk/messages-dev.csv"
        trivium.predict_file("runs/first", "topic", messages, "topics.csv", probabilities=True)
    """
    if form not in FORMS:
        raise RecipeError(f"--format {form}: is none of {', '.join(FORMS)}.")
    if form == CS224N and probabilities:
        raise RecipeError(
            f"--probabilities: the format {form} has no place for them; leave it out."
        )
    predictor = run if isinstance(run, Predictor) else load(run, precision=precision, device=device)
    chosen = predictor.question(task)
    submission = Submission(chosen) if form == CS224N else None
    needed = (*chosen.text_columns, ID) if submission else chosen.text_columns
    table = chosen.open_table(source, needed)
    added = list(chosen.columns(predictor.readout(task, [_probe(chosen)]), detailed=probabilities))
    cache = _Cache(predictor, task)
    rows = empty = 0
    with _writing(target, table, added, submission) as put, _progress(console) as bar:
        counter = bar.add_task(f"{task}", total=None)
        for part in _batched(_good_rows(table.name, table), ROWS_AT_ONCE):
            texts = [tuple(row.cells[c] for c in chosen.text_columns) for row in part]
            empty += sum(not text.strip() for row in texts for text in row)
            columns = cache.columns(texts, detailed=probabilities)
            for index, row in enumerate(part):
                put(row, [column[index] for column in columns.values()])
            rows += len(part)
            bar.update(counter, completed=rows)
    if empty and console:
        console.print(
            f"[yellow]note[/] {empty:,} texts were empty; they were answered all the same."
        )
    return rows


@contextmanager
def _writing(
    target: str | Path, table: Table, added: Sequence[str], submission: Submission | None
) -> Iterator[Callable[[Row, list[Answer]], None]]:
    """What writes a row and its answers, the prediction first."""
    if submission is not None:
        with write_lines(target) as line:
            line(submission.header)
            yield lambda row, answers: line(submission.line(row, answers[0], table.name))
        return
    if clash := sorted(set(added) & set(table.columns)):
        raise RecipeError(f"{table.name}: already has a column {clash[0]!r}; rename it first.")
    with write_table(target, [*table.columns, *added]) as out:
        yield lambda row, answers: out.write([*row.cells.values(), *answers])


class _Cache:
    """Answers of the last distinct rows, so that a repeated row is not computed again."""

    MOST = 100_000

    def __init__(self, predictor: Predictor, task: str) -> None:
        self.predictor, self.task = predictor, task
        self._readouts: OrderedDict[tuple[str, ...], Any] = OrderedDict()

    def columns(
        self, rows: Sequence[tuple[str, ...]], *, detailed: bool
    ) -> dict[str, list[Answer]]:
        new = list(dict.fromkeys(row for row in rows if row not in self._readouts))
        if new:
            for row, readout_K in zip(new, self.predictor.readout(self.task, new), strict=True):
                self._readouts[row] = readout_K
        readout_BK = torch.stack([self._readouts[row] for row in rows])
        while len(self._readouts) > self.MOST:
            self._readouts.popitem(last=False)
        return self.predictor.task(self.task).columns(readout_BK, detailed=detailed)


def _good_rows(name: str, table: Iterable[Row | BadRow]) -> Iterator[Row]:
    for row in table:
        if isinstance(row, BadRow):
            raise RecipeError(f"{name}:{row.line}: {row.problem}")
        yield row


def _batched(rows: Iterator[Row], size: int) -> Iterator[list[Row]]:
    while part := list(islice(rows, size)):
        yield part


def _probe(task: Task) -> tuple[str, ...]:
    return ("",) * len(task.text_columns)


def _progress(console: Console | None) -> Progress:
    return Progress(
        TextColumn("predicting {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.speed:,.0f} rows/s"),
        TimeElapsedColumn(),
        console=console or Console(stderr=True),
        disable=console is None or not console.is_terminal,
        transient=True,
    )
