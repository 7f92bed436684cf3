"""The columns of a study's table: what is shown of its rows, and which value is best."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from trivium.apps.study.facts import Row, Summary, TaskSummary

NOTHING = "–"
Marked = TypeVar("Marked")


@dataclass(frozen=True, slots=True)
class Question:
    """What scores can be compared by: a task, how it is scored, and on which rows."""

    task: str
    metric: str
    dev: str

    def title(self, rows: Sequence[Row]) -> str:
        """The task's name, with its rows where some of the others have it with other rows."""
        several = len({row.tasks[self.task].dev for row in rows if self.task in row.tasks}) > 1
        return f"{self.task} ({self.dev})" if several else self.task

    def answered_by(self, row: Row) -> TaskSummary | None:
        """The summary of a row's scores; None if it has none."""
        summary = row.tasks.get(self.task)
        same = summary is not None and (summary.metric, summary.dev) == (self.metric, self.dev)
        return summary if same else None


def questions_of(rows: Sequence[Row]) -> list[Question]:
    """Every one that a row answers, once."""
    found = {
        Question(name, summary.metric, summary.dev): None
        for row in rows
        for name, summary in row.tasks.items()
    }
    return list(found)


@dataclass(frozen=True, slots=True)
class Column:
    title: str
    find: Callable[[Row], Summary | TaskSummary | None]
    """A row's summary; None if it has none."""
    show: Callable[[float], str]
    best: Callable[[Sequence[float]], float] | None = max
    is_score: bool = False
    """Shown with its standard deviation."""


def columns_of(rows: Sequence[Row]) -> list[Column]:
    scores = []
    for question in questions_of(rows):
        title, find = question.title(rows), question.answered_by
        scores.append(Column(f"{title} {question.metric}", find, _score, max, is_score=True))
        seen = partial(_seen, question)
        if any(map(seen, rows)):
            scores.append(Column(f"{title} on train", seen, _score, None, is_score=True))
        reported = partial(_reported, question)
        if any(map(reported, rows)):
            scores.append(Column(f"{title} reported", reported, _as_given, None, is_score=True))
    # A mean over other tasks is no better or worse.
    best = max if len({frozenset(questions_of([row])) for row in rows}) == 1 else None
    return [
        *scores,
        Column(
            "overall leaderboard", lambda row: row.overall.leaderboard, _score, best, is_score=True
        ),
        Column("overall mean", lambda row: row.overall.mean, _score, best, is_score=True),
        Column("seconds", lambda row: row.cost.seconds, _few_digits, min),
        Column("tokens/s", lambda row: row.cost.tokens_per_s, _whole),
        Column("trained parameters", lambda row: row.cost.trained_parameters, _whole, min),
        Column("peak memory, GiB", lambda row: row.cost.peak_memory_bytes, _gibibytes, min),
    ]


def cells_of(
    rows: Sequence[Row], columns: Sequence[Column], mark: Callable[[str], Marked]
) -> list[tuple[Row, list[str | Marked]]]:
    """Each recipe's row with a text per column; the best of a column is marked."""
    texts: list[list[str | Marked]] = [[] for _ in rows]
    for column in columns:
        summaries = [column.find(row) for row in rows]
        best = _best(column, [summary.mean for summary in summaries if summary])
        for row, summary in zip(texts, summaries, strict=True):
            if summary is None or summary.mean is None:
                row.append(NOTHING)
                continue
            text = column.show(summary.mean)
            is_best = text == best
            if column.is_score and summary.sd is not None:
                text += f" ± {column.show(summary.sd)}"
            row.append(mark(text) if is_best else text)
    return list(zip(rows, texts, strict=True))


def _seen(question: Question, row: Row) -> Summary | None:
    """The score on training rows; high ones are no merit, so none is the best."""
    summary = question.answered_by(row)
    return summary.seen if summary else None


def _reported(question: Question, row: Row) -> Summary | None:
    """What was reported of a task, if it can stand beside ours."""
    reported = row.reported
    if not (question.answered_by(row) and reported and reported.beside):
        return None
    score = reported.scores.get(question.task)
    return None if score is None else Summary(mean=score, sd=None, values=[score])


def _best(column: Column, means: Sequence[float | None]) -> str | None:
    """How the best mean is shown; None where there is nothing to choose between."""
    numbers = [mean for mean in means if mean is not None]
    if column.best is None or len({column.show(mean) for mean in numbers}) < 2:
        return None
    return column.show(column.best(numbers))


def _score(value: float) -> str:
    return f"{value:.4f}"


def _as_given(value: float) -> str:
    return f"{value:g}"


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _few_digits(value: float) -> str:
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def _gibibytes(value: float) -> str:
    return f"{value / 2**30:.2f}"
