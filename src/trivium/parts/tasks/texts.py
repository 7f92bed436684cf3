"""Distinct texts of rows, and of these always the same few."""

import hashlib
from collections.abc import Iterable, Mapping

from trivium.types import Example, Target

Texts = dict[str, Example]
"""A row for each text, by the text without surrounding space."""


def distinct(rows: Iterable[Example], most: int | None, target: Target) -> Texts:
    """Every text once; texts are the same if they differ in surrounding space only.

    most: texts that are used of each row; None: all. target: of the rows that are made.
    """
    found: Texts = {}
    for row in rows:
        for text in row.texts[:most]:
            # The text itself stays as it was read: so it is tokenised once for all tasks.
            found.setdefault(text.strip(), Example((text,), target, row.line))
    return found


def drawn(texts: Mapping[str, Example], most: int) -> list[Example]:
    """At most so many, in their order; which, depends on the texts alone."""
    if len(texts) <= most:
        return list(texts.values())
    chosen = set(sorted(texts, key=lambda text: hashlib.sha256(text.encode()).digest())[:most])
    return [example for text, example in texts.items() if text in chosen]
