"""A predictor's answer to one row, word by word."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from trivium.answering.form import Form, form_named
from trivium.answering.occlusion import Explanation, Word, output_about, places_of, without
from trivium.answering.reading import Texts
from trivium.answering.says import Floats
from trivium.errors import RecipeError

ROWS_AT_ONCE = 512
"""A text of more words than that is asked about in several passes, so that memory is bounded."""


class Arrays(Protocol):
    """As `Predictor.arrays`."""

    def __call__(self, asks: Mapping[str, Sequence[Texts]], /) -> dict[str, Floats]: ...


def explanation(
    forms: Mapping[str, Form], arrays: Arrays, task: str, row: Texts, label: str | None
) -> Explanation:
    """What each word of a row did: see `Predictor.explain`."""
    form = form_named(task, forms)
    texts = (row,) if isinstance(row, str) else tuple(row) if isinstance(row, Sequence) else ()
    if len(texts) != len(form.text) or not all(isinstance(text, str) for text in texts):
        wanted = "one pair of texts" if form.is_pair else "one text"
        raise RecipeError(f"task {task!r}: {wanted} is explained at a time; found {row!r}.")
    places = places_of(texts)
    rows: list[Texts] = [texts, *(without(texts, place) for place in places)]
    parts = [rows[start : start + ROWS_AT_ONCE] for start in range(0, len(rows), ROWS_AT_ONCE)]
    readout_BK = np.concatenate([arrays({task: part})[task] for part in parts])
    assert form.says is not None
    told_BK = form.says.told(readout_BK)
    output = output_about(form, label, readout_BK[:1])
    value, *others = told_BK[:, output].tolist()
    words = tuple(
        Word(texts[place.text][place.start : place.end], place, value - other)
        for place, other in zip(places, others, strict=True)
    )
    (answer,) = form.says.answers(readout_BK[:1])
    return Explanation(task, texts, answer, form.says.names[output], value, words)
