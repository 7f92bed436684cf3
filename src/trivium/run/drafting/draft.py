"""A task as it is drafted, and what the user may have a say in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

Ask = Callable[[str, Sequence[str], Sequence[str]], list[str]]
"""A question, what may be answered, and the answer where nobody chooses another: chosen columns."""


@dataclass
class Wanted:
    """What the user said beforehand of columns, and whom to ask about the others."""

    text: tuple[str, ...] = ()
    label: tuple[str, ...] = ()
    ask: Ask | None = None
    of_sentences: bool = False
    """Whether the encoder was made for vectors of single texts."""


@dataclass
class Draft:
    """A task, and what is said of it."""

    name: str
    values: dict[str, Any]
    notes: dict[str, str] = field(default_factory=dict)
    """Setting -> a few words for the recipe, which hold nothing of the user's."""
    assumed: list[str] = field(default_factory=list)
    is_small: bool = False
    """Whether there are few rows to learn from."""


PLAIN_NUMBERS = "for scores write plain numbers, such as 45 or 3.4"


def said(names: Sequence[str]) -> str:
    first, last = names[:-1], names[-1]
    return f"{', '.join(map(repr, first))} and {last!r}" if first else repr(last)


def are(names: Sequence[str]) -> str:
    """The verb that follows them."""
    return "are" if len(names) > 1 else "is"
