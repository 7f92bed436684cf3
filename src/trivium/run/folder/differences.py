"""Where two recipes differ, by dotted path.

The order of a table means nothing but of a task's labels: it says which output stands for which
label, of which of two labels F1 is, and how an ordinal task's labels rise.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

LABELS = re.compile(r"tasks\.[^.]+\.labels")
SHOWN = 5


class Absent:
    """Stands for a setting that one of two recipes does not have."""

    def __repr__(self) -> str:
        return "absent"


ABSENT = Absent()

Difference = tuple[str, Any, Any]
"""Dotted path, the value in the old one and in the new one (`ABSENT` for none)."""


def differences(old: Any, new: Any, place: str = "") -> Iterator[Difference]:
    """Where two nested values differ; where labels do in their order only, both as lists."""
    if isinstance(old, dict) and isinstance(new, dict):
        if LABELS.fullmatch(place) and old.keys() == new.keys() and list(old) != list(new):
            yield place, list(old), list(new)
        pairs = {str(key): (old.get(key, ABSENT), new.get(key, ABSENT)) for key in {**old, **new}}
    elif isinstance(old, list) and isinstance(new, list):
        longest = range(max(len(old), len(new)))
        pairs = {str(i): (_item(old, i), _item(new, i)) for i in longest}
    else:
        if old != new:
            yield place, old, new
        return
    for key, (a, b) in pairs.items():
        yield from differences(a, b, f"{place}.{key}".strip("."))


def in_order(values: Any, place: str = "") -> Any:
    """A recipe's values with labels as lists of pairs, whose order no sorting of keys loses."""
    if not isinstance(values, dict):
        return values
    if LABELS.fullmatch(place):
        return [list(pair) for pair in values.items()]
    return {key: in_order(value, f"{place}.{key}".strip(".")) for key, value in values.items()}


def in_words(changes: Sequence[Difference]) -> str:
    """`a.b was 1 and is now 2; …`, the first few."""
    shown = [f"{place} was {a!r} and is now {b!r}" for place, a, b in changes]
    more = len(shown) - SHOWN
    return "; ".join(shown[:SHOWN]) + (f"; … {more} more" if more > 0 else "")


def _item(values: list[Any], index: int) -> Any:
    return values[index] if index < len(values) else ABSENT
