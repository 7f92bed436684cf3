"""Rank order: does a study put a report's rows in the order in which the report has them?"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

from trivium.apps.study.columns import Question, Row, questions_of
from trivium.parts.metrics import tau_b


def orders_of(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """For every report and task with two rows or more, our order against the report's. Only rows
    that are judged on the same dev rows are compared.

    rows: of the study's table. `pairs` are those that the report sets apart, `same` those of them
    that stand in its order here; `clear` are pairs whose means differ here by more than the
    standard deviation of the difference between two single runs, sqrt(sd_a² + sd_b²), and
    `clear_same` those of them in its order (None where there is one seed, so no spread).
    """
    reports = {row["reported"]["report"]: None for row in rows if row["reported"]}
    found = []
    for report in reports:
        own = [row for row in rows if row["reported"] and row["reported"]["report"] == report]
        for question in questions_of(own):
            ranked = [row for row in own if _is_told(row, question)]
            if len(ranked) > 1:
                told = {"report": report, "task": question.task, "metric": question.metric}
                told |= {"dev": question.dev, "title": question.title(own)}
                found.append(told | _order(ranked, question.task))
    return found


def _is_told(row: Row, question: Question) -> bool:
    """Whether both the report and we have a score."""
    known = question.answered_by(row).get("mean") is not None
    return known and question.task in row["reported"]["scores"]


def _order(rows: Sequence[Row], task: str) -> dict[str, Any]:
    theirs = [row["reported"]["scores"][task] for row in rows]
    ours = [row["tasks"][task] for row in rows]
    spread = all(each["sd"] is not None for each in ours)
    apart, clear = [], []
    for (a, x), (b, y) in itertools.combinations(zip(theirs, ours, strict=True), 2):
        if a == b:
            continue
        same = (a - b) * (x["mean"] - y["mean"]) > 0
        apart.append(same)
        if spread and abs(x["mean"] - y["mean"]) > math.hypot(x["sd"], y["sd"]):
            clear.append(same)
    return {
        "recipes": [row["name"] for row in rows],
        "tau_b": tau_b([each["mean"] for each in ours], theirs),
        "pairs": len(apart),
        "same": sum(apart),
        "clear": len(clear) if spread else None,
        "clear_same": sum(clear) if spread else None,
    }
