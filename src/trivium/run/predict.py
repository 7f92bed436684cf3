"""`trivium predict`: every row of a table answered, in constant memory."""

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from trivium.answering.columns import Detail, Probabilities, told
from trivium.answering.form import Form, form_named, refuse_missing
from trivium.answering.rows import answered_by, answering, none_fits
from trivium.answering.says import Floats
from trivium.errors import RecipeError
from trivium.run.folder.atomic import refuse_unwritable
from trivium.run.predictor.base import Predictor
from trivium.run.predictor.doubted import Doubted
from trivium.run.predictor.load import load
from trivium.run.predictor.submission import CS224N, FORMS, ID, Submission
from trivium.run.screen.console import heard_on, note
from trivium.text.copying import copying
from trivium.text.tables import BadRow, Table, open_table, write_table
from trivium.text.writing import write_lines
from trivium.types import Answer, Row

ROWS_AT_ONCE = 4096

_Put = Callable[[Row, list[Answer]], None]


def predict_file(
    run: str | Path | Predictor,
    task: str | Sequence[str] | None,
    source: str | Path,
    target: str | Path,
    *,
    probabilities: Probabilities = False,
    top_k: int | None = None,
    least_certain: int | None = None,
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
    `prediction` (and `confidence`) is added, its name after `prefix`; with `probabilities`, one
    column per label, or with "json" one for all of them; with `top_k`, that many of the most
    probable labels. least_certain: only so many rows, those that the task is least sure of, the
    least certain first and every text once: what to label next.

    task: one; or several, which then share the pass over the texts and put their name before their
    columns (`topic_prediction`); None: all whose columns the table has. "-" is standard input or
    output. form: `table`, in the format of the target's ending, or `cs224n`: see
    `predictor.submission`. A file that is there is replaced only with `overwrite`, and the source
    never. Memory does not grow with the file. A bad row ends it with RecipeError naming the line,
    before the target is touched.

        messages = "recipes/data/support-desk/messages-dev.csv"
        trivium.predict_file("runs/first", "topic", messages, "topics.csv", probabilities=True)
        trivium.predict_file("runs/first", None, messages, "answers.csv")
        trivium.predict_file("runs/first", "topic", messages, "label-next.csv", least_certain=20)
    """
    detail = Detail(probabilities, top_k)
    _refuse_forms(form, task, more=detail != Detail() or least_certain is not None)
    _refuse_target(source, target, overwrite=overwrite)
    how = {"precision": precision, "device": device, "backend": backend}
    predictor = run if isinstance(run, Predictor) else load(run, **how)
    table, chosen = _opened(predictor, task, source, form)
    detail.refuse_misfit(chosen)
    doubted = Doubted(least_certain, [*chosen.values()]) if least_certain is not None else None
    submission = Submission(next(iter(chosen.values()))) if form == CS224N else None
    cache, tell = _Cache(predictor, chosen), _Tell(chosen, detail, not isinstance(task, str))
    asks = {name: [("",) * len(each.text)] for name, each in chosen.items()}
    added = [f"{prefix}{column}" for column in tell.columns(cache.readouts(asks))]
    rows = empty = 0
    with _writing(target, table, added, submission) as put, _progress(console) as bar:
        counter = bar.add_task(", ".join(chosen), total=None)
        for part in _batched(_good_rows(table.name, table), ROWS_AT_ONCE):
            empty += _empty(part, chosen)
            texts = _texts(part, chosen)
            readouts = cache.readouts(texts)
            answers = tell.rows(readouts)
            if doubted is not None:
                (name,) = chosen
                doubted.see(part, texts[name], readouts[name], answers)
            else:
                _put_all(put, zip(part, answers, strict=True))
            rows += len(part)
            bar.update(counter, completed=rows)
        _put_all(put, doubted.rows() if doubted is not None else ())
    if empty and console:
        note(console, f"{empty:,} texts were empty; they were answered all the same.")
    return rows


def _refuse_forms(form: str, task: str | Sequence[str] | None, *, more: bool) -> None:
    """more: whether more than the answers of all rows is asked for."""
    if form not in FORMS:
        raise RecipeError(f"--format {form}: is none of {', '.join(FORMS)}.")
    if form == CS224N and more:
        raise RecipeError(
            f"--format {form}: has no place for them; leave --probabilities, --top-k and "
            "--least-certain out."
        )
    if form == CS224N and not isinstance(task, str):
        raise RecipeError(f"--format {form}: holds the answers of one task; name one --task.")


def _refuse_target(source: str | Path, target: str | Path, *, overwrite: bool) -> None:
    """Refuse a file that is not to be written, before any work."""
    if str(target) == "-":
        return
    path = Path(os.path.abspath(target))
    if str(source) != "-" and path.exists() and Path(source).exists() and path.samefile(source):
        raise RecipeError(
            f"{target}: is the table that is read; its answers go into another file (--out)."
        )
    refuse_unwritable(path, overwrite=overwrite, example="answers.csv")


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
) -> Iterator[_Put]:
    """What writes a row and its answers, the prediction first."""
    if submission is not None:
        with write_lines(target) as line:
            line(submission.header)
            yield lambda row, answers: line(submission.line(row, answers[0], table.name))
        return
    if clash := sorted(set(added) & set(table.columns)):
        raise RecipeError(
            f"{table.name}: already has a column {clash[0]!r}; rename it, or put something before "
            "the names of the answers' columns: --prefix new_"
        )
    copied = copying(table, target)
    with write_table(target, [*table.columns, *added], copied.types) as out:
        yield lambda row, answers: out.write([*copied.values(row), *answers])


def _empty(rows: Sequence[Row], forms: Mapping[str, Form]) -> int:
    """How many texts that are read are empty."""
    read = list(dict.fromkeys(column for form in forms.values() for column in form.text))
    return sum(not row.cells[column].strip() for row in rows for column in read)


def _put_all(put: _Put, answered: Iterable[tuple[Row, list[Answer]]]) -> None:
    for row, answers in answered:
        put(row, answers)


@dataclass(frozen=True, slots=True)
class _Tell:
    """What is written of what was said of rows."""

    forms: Mapping[str, Form]
    detail: Detail
    prefixed: bool

    def columns(self, readouts: Mapping[str, Floats]) -> dict[str, list[Answer]]:
        return told(self.forms, readouts, self.detail, prefixed=self.prefixed)

    def rows(self, readouts: Mapping[str, Floats]) -> list[list[Answer]]:
        return [list(row) for row in zip(*self.columns(readouts).values(), strict=True)]


class _Cache:
    """What was said of the last distinct rows, so that a repeated row is not computed again."""

    MOST = 100_000

    def __init__(self, predictor: Predictor, forms: Mapping[str, Form]) -> None:
        self.predictor = predictor
        self._readouts: dict[str, OrderedDict[tuple[str, ...], Floats]] = {
            name: OrderedDict() for name in forms
        }

    def readouts(self, asks: Mapping[str, Sequence[tuple[str, ...]]]) -> dict[str, Floats]:
        """readout_BK by task; asks: by task, each row's texts."""
        self._learn(asks)
        found = {}
        for name, rows in asks.items():
            known = self._readouts[name]
            found[name] = np.stack([known[row] for row in rows])
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
