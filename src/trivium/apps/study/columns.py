"""The columns of a study's table: what is shown of its rows, and which value is best."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

NOTHING = "–"

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """What scores can be compared by: a task, how it is scored, and on which rows."""

    task: str
    metric: str
    dev: str

    def title(self, rows: Sequence[Row]) -> str:
        """The task's name, with its rows where some of the others have it with other rows."""
        several = len({told["dev"] for row in rows if (told := row["tasks"].get(self.task))}) > 1
        return f"{self.task} ({self.dev})" if several else self.task

    def answered_by(self, row: Row) -> Mapping[str, Any]:
        """The summary of a row's scores; empty if it has none."""
        told: Mapping[str, Any] = row["tasks"].get(self.task, {})
        same = told and (told["metric"], told["dev"]) == (self.metric, self.dev)
        return told if same else {}


def questions_of(rows: Sequence[Row]) -> list[Question]:
    """Every one that a row answers, once."""
    found = {
        Question(name, told["metric"], told["dev"]): None
        for row in rows
        for name, told in row["tasks"].items()
    }
    return list(found)


@dataclass(frozen=True, slots=True)
class Column:
    title: str
    find: Callable[[Row], Mapping[str, Any]]
    """A row's summary; empty if it has none."""
    show: Callable[[float], str]
    best: Callable[[Sequence[float]], float] | None = max
    is_score: bool = False
    """Shown with its standard deviation."""


def columns_of(rows: Sequence[Row]) -> list[Column]:
    scores = []
    for question in questions_of(rows):
        title, find = question.title(rows), partial(_scores, question)
        scores.append(Column(f"{title} {question.metric}", find, _score, max, is_score=True))
        find = partial(_reported, question)
        if any(map(find, rows)):
            scores.append(Column(f"{title} reported", find, _as_given, None, is_score=True))
    # A mean over other tasks is no better or worse.
    best = max if len({frozenset(questions_of([row])) for row in rows}) == 1 else None
    means = [
        Column(f"overall {kind}", partial(_part, "overall", kind), _score, best, is_score=True)
        for kind in ("leaderboard", "mean")
    ]
    return [
        *scores,
        *means,
        Column("seconds", partial(_part, "cost", "seconds"), _few_digits, min),
        Column("tokens/s", partial(_part, "cost", "tokens_per_s"), _whole),
        Column("trained parameters", partial(_part, "cost", "trained_parameters"), _whole, min),
        Column("peak memory, GiB", partial(_part, "cost", "peak_memory_bytes"), _gibibytes, min),
    ]


def cells_of(
    rows: Sequence[Row], columns: Sequence[Column], mark: Callable[[str], str]
) -> list[tuple[Row, list[str]]]:
    """Each recipe's row with a text per column; the best of a column is marked."""
    texts: list[list[str]] = [[] for _ in rows]
    for column in columns:
        found = [column.find(row) for row in rows]
        means = [each.get("mean") for each in found]
        best = _best(column, means)
        for row, each, mean in zip(texts, found, means, strict=True):
            if mean is None:
                row.append(NOTHING)
                continue
            text = column.show(mean)
            is_best = text == best
            if column.is_score and each.get("sd") is not None:
                text += f" ± {column.show(each['sd'])}"
            row.append(mark(text) if is_best else text)
    return list(zip(rows, texts, strict=True))


def _scores(question: Question, row: Row) -> Mapping[str, Any]:
    return question.answered_by(row)


def _reported(question: Question, row: Row) -> Mapping[str, Any]:
    """What was reported of a task, if it can stand beside ours."""
    told, name = row["reported"], question.task
    if not question.answered_by(row):
        return {}
    return (
        {"mean": told["scores"][name]} if told and told["beside"] and name in told["scores"] else {}
    )


def _part(part: str, kind: str, row: Row) -> Mapping[str, Any]:
    told: Mapping[str, Any] = row[part][kind]
    return told


def _best(column: Column, means: Sequence[float | None]) -> str | None:
    """How the best mean is shown; None where there is nothing to choose between."""
    known = [mean for mean in means if mean is not None]
    if column.best is None or len({column.show(mean) for mean in known}) < 2:
        return None
    return column.show(column.best(known))


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
