"""`trivium predict`: every row of a table answered, in constant memory."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from trivium.answering.columns import Detail, Probabilities, told
from trivium.answering.form import Form, forms_named, open_for, refuse_missing
from trivium.answering.rows import answered_by, answering, none_fits
from trivium.answering.says import Floats
from trivium.errors import RecipeError
from trivium.run.predictor.base import Predictor
from trivium.run.predictor.doubted import Doubted
from trivium.run.predictor.load import load
from trivium.run.predictor.remembered import Remembered
from trivium.run.predictor.streaming import alone_at, batched, good_rows
from trivium.run.predictor.submission import CS224N, FORMS, ID, Submission
from trivium.run.screen.console import note
from trivium.run.screen.progress import counting
from trivium.text.copying import copying
from trivium.text.tables import Table, write_table
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
    never; one that another process is writing is refused. Memory does not grow with the file. A bad
    row ends it with RecipeError naming the line, before the target is touched.

        messages = "recipes/data/support-desk/messages-dev.csv"
        trivium.predict_file("runs/first", "topic", messages, "topics.csv", probabilities=True)
        trivium.predict_file("runs/first", None, messages, "answers.csv")
        trivium.predict_file("runs/first", "topic", messages, "label-next.csv", least_certain=20)
    """
    detail = Detail(probabilities, top_k)
    more = detail != Detail() or least_certain is not None or bool(prefix)
    _refuse_forms(form, task, more=more)
    with alone_at(source, target, overwrite=overwrite):
        how = {"precision": precision, "device": device, "backend": backend}
        predictor = run if isinstance(run, Predictor) else load(run, **how)
        table, chosen = _opened(predictor, task, source, form)
        detail.refuse_misfit(chosen)
        doubted = Doubted(least_certain, [*chosen.values()]) if least_certain is not None else None
        submission = Submission(next(iter(chosen.values()))) if form == CS224N else None
        detail = replace(detail, raw=submission is not None and submission.raw)
        job = _Job(predictor, chosen, detail, doubted, prefixed=not isinstance(task, str))
        added = {f"{prefix}{column}": value for column, value in job.example().items()}
        with _writing(target, table, added, submission) as put:
            rows = job.write(table, put, console)
    if job.empty and console:
        note(console, f"{job.empty:,} texts were empty; they were answered all the same.")
    return rows


def _refuse_forms(form: str, task: str | Sequence[str] | None, *, more: bool) -> None:
    """more: whether more than the answers of all rows is asked for."""
    if form not in FORMS:
        raise RecipeError(f"--format {form}: is none of {', '.join(FORMS)}.")
    if form == CS224N and more:
        raise RecipeError(
            f"--format {form}: has no place for them; leave --probabilities, --top-k, "
            "--least-certain and --prefix out."
        )
    if form == CS224N and not isinstance(task, str):
        raise RecipeError(f"--format {form}: holds the answers of one task; name one --task.")


def _opened(
    predictor: Predictor, task: str | Sequence[str] | None, source: str | Path, form: str
) -> tuple[Table, dict[str, Form]]:
    """The table, and the tasks that answer its rows. Raises RecipeError."""
    if task is not None:
        chosen = forms_named(task, predictor.forms, "--task")
    else:
        chosen = answering(predictor.forms)
    remedy = f"ask them one by one: --task {next(iter(chosen), 'NAME')}"
    table = open_for(chosen.values(), source, remedy)
    if task is None:
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
    target: str | Path, table: Table, added: Mapping[str, Answer], submission: Submission | None
) -> Iterator[_Put]:
    """What writes a row and its answers, the prediction first, a raw score last.

    added: the columns of the answers, each with a value such as it will hold.
    """
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
    copied = copying(table, target, added)
    with write_table(target, [*table.columns, *added], copied.types) as out:
        yield lambda row, answers: out.write([*copied.values(row), *answers])


class _Job:
    """Rows of a table on their way through a predictor."""

    def __init__(
        self,
        predictor: Predictor,
        forms: Mapping[str, Form],
        detail: Detail,
        doubted: Doubted | None,
        *,
        prefixed: bool,
    ) -> None:
        self.forms, self.detail, self.doubted = forms, detail, doubted
        self.prefixed, self.memory = prefixed, _Memory(predictor, forms)
        self.empty = 0
        """Texts that said nothing."""

    def example(self) -> dict[str, Answer]:
        """The columns that answers fill, each with what it would say of empty texts."""
        told = self._told({n: [("",) * len(f.text)] for n, f in self.forms.items()})[0]
        return {column: answer for column, (answer,) in told.items()}

    def write(self, table: Table, put: _Put, console: Console | None) -> int:
        """Answer all rows; how many there were."""
        rows = 0
        with counting(console, f"predicting {', '.join(self.forms)}") as count:
            for part in batched(good_rows(table), ROWS_AT_ONCE):
                self._answer(part, put)
                rows += len(part)
                count(rows)
        for row, answers in self.doubted.rows() if self.doubted is not None else ():
            put(row, answers)
        return rows

    def _answer(self, part: Sequence[Row], put: _Put) -> None:
        read = dict.fromkeys(column for form in self.forms.values() for column in form.text)
        self.empty += sum(not row.cells[column].strip() for row in part for column in read)
        texts = _texts(part, self.forms)
        columns, readouts = self._told(texts)
        answers = [list(of_row) for of_row in zip(*columns.values(), strict=True)]
        if self.doubted is not None:
            (name,) = self.forms
            self.doubted.see(part, texts[name], readouts[name], answers)
            return
        for row, of_row in zip(part, answers, strict=True):
            put(row, of_row)

    def _told(
        self, asks: Mapping[str, Sequence[tuple[str, ...]]]
    ) -> tuple[dict[str, list[Answer]], dict[str, Floats]]:
        readouts = self.memory.readouts(asks)
        return told(self.forms, readouts, self.detail, prefixed=self.prefixed), readouts


class _Memory:
    """What was said of the last distinct rows, so that a repeated row is not computed again."""

    def __init__(self, predictor: Predictor, forms: Mapping[str, Form]) -> None:
        self.predictor = predictor
        self._of_task = {name: Remembered() for name in forms}

    def readouts(self, asks: Mapping[str, Sequence[tuple[str, ...]]]) -> dict[str, Floats]:
        """readout_BK by task, all tasks asked together; asks: by task, each row's texts."""
        recalled = {name: self._of_task[name].recall(rows) for name, rows in asks.items()}
        new = {name: one.new for name, one in recalled.items() if one.new}
        said = self.predictor.arrays(new) if new else {}
        return {
            name: self._of_task[name].answered(one, said.get(name))
            for name, one in recalled.items()
        }
