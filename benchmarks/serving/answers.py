"""What is asked of all servers, and whether they say the same."""

import json
from collections.abc import Sequence
from typing import Any

TASKS = ("sentiment", "topic", "urgency")
LABELS = ("a", "b", "c", "d", "e")
"""Of every task: what is answered means nothing, but everybody must answer the same."""
COLUMN = "message"
POISON = "poisonpill"
"""A word that brings the computation of one of the models down."""
Scores = dict[str, dict[str, float]]
"""Of one text: by task, each label's probability."""


def scored(labels: Sequence[str], said: dict[str, list[list[float]]], rows: int) -> list[Scores]:
    """Texts one by one, from the probabilities of each task's batch."""
    return [
        {task: dict(zip(labels, said[task][row], strict=True)) for task in said}
        for row in range(rows)
    ]


def labels_of(body: bytes, tasks: Sequence[str]) -> dict[str, str]:
    """The label of every task in a server's answer about one text.

    Looks for the object that has the tasks' names, wherever it stands.
    """
    found = _find(json.loads(body), tasks)
    if found is None:
        raise ValueError(f"an answer without {', '.join(tasks)}: {body[:300]!r}")
    return {task: _label(found[task]) for task in tasks}


def _find(value: Any, tasks: Sequence[str]) -> dict[str, Any] | None:
    if isinstance(value, dict) and all(task in value for task in tasks):
        return value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inner:
        if (found := _find(each, tasks)) is not None:
            return found
    return None


def _label(said: Any) -> str:
    """Of a label alone, of an object that names it, or of labels with the best one first."""
    if isinstance(said, list):
        return _label(said[0])
    if isinstance(said, dict):
        return _label(next(said[key] for key in ("label", "prediction") if key in said))
    return str(said)


def same(one: Sequence[dict[str, str]], other: Sequence[dict[str, str]]) -> float:
    """The share of labels on which two servers agree."""
    pairs = [(mine[task], theirs[task]) for mine, theirs in zip(one, other, strict=True)
             for task in mine]  # fmt: skip
    return sum(mine == theirs for mine, theirs in pairs) / len(pairs)
