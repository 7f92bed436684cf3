"""Runs of nine tasks: one for each, and one for all, with long, wide and marked names."""

from pathlib import Path

import pytest

from tests.support.runs import MOOD, TASKS, Said, moods, write_run

ROWS = 60
NAMES = [
    "mood", "urgent", "X感情分析と話題の分類タスク", "topic_of_the_message_as_people_said_it",
    "_b_", "intent", "__stars__", "toxic", "spam",
]  # fmt: skip
SHARED = "[bold]one|for<b>*all*"
RIGHT = [(30, 55), (30, 42), (40, 40), (55, 30), (44, 36), (30, 39), (50, 50), (41, 40), (30, 33)]
"""Of 60 answers, of the task's own model and of the one for all."""


def right(count: int, shift: int) -> Said:
    target = [row % 2 for row in range(ROWS)]
    return moods([(row + shift) % ROWS < count for row in range(ROWS)], target)


def make(home: Path) -> list[Path]:
    """Nine single-task models, and one for all."""
    with pytest.MonkeyPatch.context() as patch:
        for name in NAMES:
            patch.setitem(TASKS, name, MOOD)
        each = {n: (right(a, 7), right(b, 0)) for n, (a, b) in zip(NAMES, RIGHT, strict=True)}
        runs = [
            write_run(home / f"single-{place}", {name: said[0]})
            for place, (name, said) in enumerate(each.items())
        ]
        shared = {name: said[1] for name, said in each.items()}
        return [*runs, write_run(home / SHARED, shared, cost={"parameters": 1500})]
