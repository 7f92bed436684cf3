"""Which words made the answer: what changes where one is left out.

Occlusion (Zeiler & Fergus 2014, section 4.2), of words as Li et al. 2016 ("Understanding neural
networks through representation erasure") erase them. It asks a model nothing but answers, so it is
the same for one model and an ensemble, in PyTorch and as a graph.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from trivium.answering.form import Form
from trivium.answering.says import Floats, Labels, OneLabel
from trivium.errors import RecipeError, did_you_mean
from trivium.types import Answer

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|\w+(?:['’]\w+)*|[^\w\s]+")
"""A word, a run of other signs, or a single sign of Chinese and Japanese, which write no blanks."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a word stands."""

    text: int
    """0; of a pair's second text 1."""
    start: int
    end: int
    """Characters of that text, as Python counts them."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word, and what it did for the answer."""

    word: str
    place: Place
    effect: float
    """What is said with the word, less what is said without it: above 0, it spoke for `about`."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """An answer and what the row's words did for it."""

    task: str
    texts: tuple[str, ...]
    answer: Answer
    about: str
    """The label whose probability is explained; of a score `score`."""
    value: float
    """What is said of that, of the whole row."""
    words: tuple[Word, ...]
    """In the order of the texts."""

    @property
    def strongest(self) -> list[Word]:
        """The words by how much they did, for or against."""
        return sorted(self.words, key=lambda word: -abs(word.effect))


def places_of(texts: Sequence[str]) -> list[Place]:
    """The words of a row's texts."""
    return [
        Place(number, *found.span())
        for number, text in enumerate(texts)
        for found in _WORD.finditer(text)
    ]


def without(texts: Sequence[str], place: Place) -> tuple[str, ...]:
    """The texts without a word, and without one of the blanks that would stand side by side."""
    text = texts[place.text]
    before, after = text[: place.start], text[place.end :]
    if (before == "" or before[-1].isspace()) and after[:1].isspace():
        after = after[1:]
    return tuple(before + after if n == place.text else t for n, t in enumerate(texts))


def output_about(form: Form, label: str | None, readout_BK: Floats) -> int:
    """Which output of a readout is explained: that of a label; by default of the one that is
    answered (had it to be), and of several labels of the most probable one.

    readout_BK: of the whole texts, one row. Raises RecipeError for no label of the task.
    """
    names = list(form.says.names) if form.says is not None else []
    if label is None:
        if isinstance(form.says, OneLabel) and form.says.decide is not None:
            return int(form.says.decided(readout_BK).said[0])  # not always the most probable one
        told_BK = form.says.told(readout_BK) if form.says is not None else readout_BK
        return int(told_BK[0].argmax())
    if not isinstance(form.says, Labels):
        raise RecipeError(f"label: task {form.name!r} answers with a score; leave it out.")
    if label not in names:
        raise RecipeError(f"label: task {form.name!r} has no {label!r}{did_you_mean(label, names)}")
    return names.index(label)
