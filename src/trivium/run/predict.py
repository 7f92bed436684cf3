"""`trivium predict`: every row of a table answered, in constant memory."""

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from trivium.answering.form import Form, form_named, refuse_missing
from trivium.answering.rows import answered_by, answering, none_fits
from trivium.answering.says import Floats
from trivium.errors import RecipeError
from trivium.run.folder.atomic import refuse_unwritable
from trivium.run.folder.locks import alone
from trivium.run.predictor.base import Predictor
from trivium.run.predictor.load import load
from trivium.run.predictor.submission import CS224N, FORMS, ID, Submission
from trivium.run.screen.console import heard_on, note
from trivium.text.copying import copying
from trivium.text.tables import BadRow, Table, open_table, write_table
from trivium.text.writing import write_lines
from trivium.types import Answer, Row

ROWS_AT_ONCE = 4096


def predict_file(
    run: str | Path | Predictor,
    task: str | Sequence[str] | None,
    source: str | Path,
    target: str | Path,
    *,
    probabilities: bool = False,
    form: str = "table",
    prefix: str = "",
    overwrite: bool = False,
    precision: str = "auto",
    device: str = "auto",
    backend: str = "auto",
    console: Console | None = None,
) -> int:
    """Answer every row of a table into another table; the number of rows.

    All columns of the source are kept, in order and, where both formats have types, with them;
    `prediction` (and `confidence`; with `probabilities`, one column per label) is added, its name
    after `prefix`. task: one; or several, which then share the pass over the texts and put their
    name before their columns (`topic_prediction`); None: all whose columns the table has. "-" is
    standard input or output. form: `table`, in the format of the target's ending, or `cs224n`: see
    `predictor.submission`. A file that is there is replaced only with `overwrite`, and the source
    never; one that another process is writing is refused. Memory does not grow with the file. A bad
    row ends it with RecipeError naming the line, before the target is touched.

        messages = "recipes/data/support-desk/messages-dev.csv"
        trivium.predict_file("runs/first", "topic", messages, "topics.csv", probabilities=True)
        trivium.predict_file("runs/first", None, messages, "answers.csv")
    """
    _refuse_forms(form, task, probabilities=probabilities)
    with _alone_at(source, target, overwrite=overwrite):
        predictor = run
        if not isinstance(predictor, Predictor):
            predictor = load(predictor, precision=precision, device=device, backend=backend)
        table, chosen = _opened(predictor, task, source, form)
        submission = Submission(next(iter(chosen.values()))) if form == CS224N else None
        cache = _Cache(predictor, chosen, task, submission, detailed=probabilities)
        asks = {name: [("",) * len(each.text)] for name, each in chosen.items()}
        added = [f"{prefix}{column}" for column in cache.columns(asks)]
        with _writing(target, table, added, submission) as put:
            return _answer(table, chosen, cache, put, console)


def _answer(
    table: Table,
    chosen: Mapping[str, Form],
    cache: "_Cache",
    put: Callable[[Row, list[Answer]], None],
    console: Console | None,
) -> int:
    """Answer row after row; how many there were. put: writes one."""
    read = list(dict.fromkeys(column for each in chosen.values() for column in each.text))
    rows = empty = 0
    with _progress(console) as bar:
        counter = bar.add_task(", ".join(chosen), total=None)
        for part in _batched(_good_rows(table.name, table), ROWS_AT_ONCE):
            empty += sum(not row.cells[column].strip() for row in part for column in read)
            columns = cache.columns(_texts(part, chosen))
            for index, row in enumerate(part):
                put(row, [column[index] for column in columns.values()])
            rows += len(part)
            bar.update(counter, completed=rows)
    if empty and console:
        note(console, f"{empty:,} texts were empty; they were answered all the same.")
    return rows


def _refuse_forms(form: str, task: str | Sequence[str] | None, *, probabilities: bool) -> None:
    if form not in FORMS:
        raise RecipeError(f"--format {form}: is none of {', '.join(FORMS)}.")
    if form == CS224N and probabilities:
        raise RecipeError(
            f"--probabilities: the format {form} has no place for them; leave it out."
        )
    if form == CS224N and not isinstance(task, str):
        raise RecipeError(f"--format {form}: holds the answers of one task; name one --task.")


@contextmanager
def _alone_at(source: str | Path, target: str | Path, *, overwrite: bool) -> Iterator[None]:
    """Refuse a file that is not to be written, before any work; in the block, nobody else may."""
    if str(target) == "-":
        yield
        return
    path = Path(os.path.abspath(target))
    if str(source) != "-" and path.exists() and Path(source).exists() and path.samefile(source):
        raise RecipeError(
            f"{target}: is the table that is read; its answers go into another file (--out)."
        )
    refuse_unwritable(path, overwrite=overwrite, example="answers.csv")
    with alone(path):
        # Once more: another process may just have written it.
        refuse_unwritable(path, overwrite=overwrite, example="answers.csv")
        yield


def _opened(
    predictor: Predictor, task: str | Sequence[str] | None, source: str | Path, form: str
) -> tuple[Table, dict[str, Form]]:
    """The table, and the tasks that answer its rows. Raises RecipeError."""
    names = [task] if isinstance(task, str) else task
    if names is not None:
        chosen = {name: form_named(name, predictor.forms) for name in names}
        if not chosen:
            raise RecipeError("--task: names no task.")
    else:
        chosen = answering(predictor.forms)
    first, *others = chosen.values()
    if any((f.delimiter, f.quoting) != (first.delimiter, first.quoting) for f in others):
        raise RecipeError(
            "the tasks read their tables in different ways (`delimiter`, `quoting`); ask them one "
            f"by one: --task {first.name}"
        )
    table = open_table(source, delimiter=first.delimiter, quoting=first.quoting)
    if names is None:
        columns = dict.fromkeys(table.columns)
        chosen, every = answered_by(chosen, columns), chosen
        if not chosen:
            raise RecipeError(f"{table.name}: {none_fits(every, columns)}")
    for name, each in chosen.items():
        needed = (*each.text, ID) if form == CS224N else each.text
        refuse_missing(table, needed, f"task {name!r}")
    return table, chosen


def _texts(rows: Sequence[Row], forms: Mapping[str, Form]) -> dict[str, list[tuple[str, ...]]]:
    """By task what each row asks it."""
    return {
        name: [tuple(row.cells[column] for column in form.text) for row in rows]
        for name, form in forms.items()
    }


@contextmanager
def _writing(
    target: str | Path, table: Table, added: Sequence[str], submission: Submission | None
) -> Iterator[Callable[[Row, list[Answer]], None]]:
    """What writes a row and its answers, the prediction first, a raw score last."""
    if submission is not None:
        with write_lines(target) as line:
            line(submission.header)
            place = -1 if submission.raw else 0
            yield lambda row, answers: line(submission.line(row, answers[place], table.name))
        return
    if clash := sorted(set(added) & set(table.columns)):
        raise RecipeError(
            f"{table.name}: already has a column {clash[0]!r}; rename it, or put something before "
            "the names of the answers' columns: --prefix new_"
        )
    copied = copying(table, target)
    with write_table(target, [*table.columns, *added], copied.types) as out:
        yield lambda row, answers: out.write([*copied.values(row), *answers])


class _Cache:
    """Answers of the last distinct rows, so that a repeated row is not computed again."""

    MOST = 100_000

    def __init__(
        self,
        predictor: Predictor,
        forms: Mapping[str, Form],
        task: str | Sequence[str] | None,
        submission: Submission | None,
        *,
        detailed: bool,
    ) -> None:
        self.predictor, self.forms, self.detailed = predictor, forms, detailed
        self.prefixed = not isinstance(task, str)
        self.raw = submission is not None and submission.raw
        self._readouts: dict[str, OrderedDict[tuple[str, ...], Floats]] = {
            name: OrderedDict() for name in forms
        }

    def columns(self, asks: Mapping[str, Sequence[tuple[str, ...]]]) -> dict[str, list[Answer]]:
        """The added columns; asks: by task, each row's texts."""
        self._learn(asks)
        found: dict[str, list[Answer]] = {}
        for name, rows in asks.items():
            known, says = self._readouts[name], self.forms[name].says
            readout_BK = np.stack([known[row] for row in rows])
            assert says is not None
            columns = says.columns(readout_BK, detailed=self.detailed)
            if self.raw:
                columns = says.kept(readout_BK)
            for column, values in columns.items():
                found[f"{name}_{column}" if self.prefixed else column] = values
            while len(known) > self.MOST:
                known.popitem(last=False)
        return found

    def _learn(self, asks: Mapping[str, Sequence[tuple[str, ...]]]) -> None:
        """Ask about the rows that are not known yet, all tasks together."""
        new = {
            name: list(dict.fromkeys(row for row in rows if row not in self._readouts[name]))
            for name, rows in asks.items()
        }
        new = {name: rows for name, rows in new.items() if rows}
        for name, readout_BK in self.predictor.arrays(new).items() if new else ():
            self._readouts[name].update(zip(new[name], readout_BK, strict=True))


def _good_rows(name: str, table: Iterable[Row | BadRow]) -> Iterator[Row]:
    for row in table:
        if isinstance(row, BadRow):
            raise RecipeError(f"{name}:{row.line}: {row.problem}")
        yield row


def _batched(rows: Iterator[Row], size: int) -> Iterator[list[Row]]:
    while part := list(islice(rows, size)):
        yield part


def _progress(console: Console | None) -> Progress:
    return Progress(
        TextColumn("predicting {task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.speed:,.0f} rows/s", markup=False),
        TimeElapsedColumn(),
        console=heard_on(console),
        disable=console is None or not console.is_terminal,
        transient=True,
    )
