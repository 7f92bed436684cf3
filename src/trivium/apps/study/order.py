"""Rank order: does a study put a report's rows in the order in which the report has them?"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from trivium.apps.study.columns import Question, questions_of
from trivium.apps.study.facts import Order, Row
from trivium.parts.metrics import tau_b


def orders_of(rows: Sequence[Row]) -> list[Order]:
    """For every report and task with two rows or more, our order against the report's. Only rows
    that are judged on the same dev rows are compared.

    rows: of the study's table.
    """
    reports = {row.reported.report: None for row in rows if row.reported}
    orders = []
    for report in reports:
        shown = [row for row in rows if row.reported and row.reported.report == report]
        for question in questions_of(shown):
            ranked = [pair for row in shown if (pair := _both(row, question))]
            if len(ranked) > 1:
                orders.append(_order(report, question, question.title(shown), ranked))
    return orders


@dataclass(frozen=True, slots=True)
class _Both:
    """A row's score in a report, and ours."""

    name: str
    theirs: float
    mean: float
    sd: float | None


def _both(row: Row, question: Question) -> _Both | None:
    """None where the report or we have no score."""
    ours, theirs = question.answered_by(row), row.reported
    if ours is None or ours.mean is None or theirs is None or question.task not in theirs.scores:
        return None
    return _Both(row.name, theirs.scores[question.task], ours.mean, ours.sd)


def _order(report: str, question: Question, title: str, rows: Sequence[_Both]) -> Order:
    spread = all(row.sd is not None for row in rows)
    apart, clear = [], []
    for a, b in itertools.combinations(rows, 2):
        if a.theirs == b.theirs:
            continue
        same = (a.theirs - b.theirs) * (a.mean - b.mean) > 0
        apart.append(same)
        if _is_clear(a, b):
            clear.append(same)
    return Order(
        report=report,
        task=question.task,
        metric=question.metric,
        dev=question.dev,
        title=title,
        recipes=[row.name for row in rows],
        tau_b=tau_b([row.mean for row in rows], [row.theirs for row in rows]),
        pairs=len(apart),
        same=sum(apart),
        clear=len(clear) if spread else None,
        clear_same=sum(clear) if spread else None,
    )


def _is_clear(a: _Both, b: _Both) -> bool:
    """Whether our means differ by more than two single runs would by chance; see `Order`."""
    if a.sd is None or b.sd is None:
        return False
    return abs(a.mean - b.mean) > math.hypot(a.sd, b.sd)
