"""`/v1/explain`: what the words of a row did for its answers, by leaving out one after the other.

Every word is a row in the queue, which all tasks share that read its column: so a text is bounded
by the rows that a request may hold, and nobody waits longer for it than for so many rows. A word
also is a copy of its text, so a small body may be much work before it is queued: that is bounded
too, and done where others are not kept waiting.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from trivium.answering.form import Form
from trivium.answering.occlusion import Place, output_about, places_of, without
from trivium.answering.rows import Wanted
from trivium.answering.says import Floats, Says
from trivium.apps.serve.asks import Failed
from trivium.apps.serve.checks import check_keys, check_rows, check_tasks, refuse
from trivium.apps.serve.errors import Detail, Problem
from trivium.apps.serve.front import COMPUTES, Answers, Front, failure
from trivium.apps.serve.notes import Note
from trivium.apps.serve.routes import answered, timing
from trivium.apps.serve.sayings import cut_of, says_of

PART = "send a part of the text"
MOST_PER_TOKEN = 32
"""Characters of all copies, for each token that the whole queue holds: words have some five a
token, so copies that are longer would hardly fit into it; and they are all split into tokens before
that is known."""


@dataclass(frozen=True, slots=True)
class Occluded:
    """A row as it is, and once more for each of its words, without that word."""

    forms: Mapping[str, Form]
    """Of the tasks that are asked."""
    row: Mapping[str, str]
    spots: list[tuple[str, Place]]
    """Column and place of each word."""

    @property
    def rows(self) -> int:
        return 1 + len(self.spots)

    @property
    def characters(self) -> int:
        """Of all copies together."""
        return sum(len(self.row[column]) for column, _ in self.spots)

    def wanted(self) -> Wanted:
        found = self.whole()
        for number, (column, place) in enumerate(self.spots, start=1):
            texts = {**self.row, column: without([self.row[column]], place)[0]}
            for name, form in self.forms.items():
                if column in form.text:
                    found.add(name, number, tuple(texts[each] for each in form.text))
        return found

    def whole(self) -> Wanted:
        """The row as it is."""
        found = Wanted()
        for name, form in self.forms.items():
            found.add(name, 0, tuple(self.row[each] for each in form.text))
        return found


async def explain(request: Request) -> Response:
    """What each word of one row did for its answers: what is said with it, less what is said
    without it. Every word counts as a row."""
    front: Front = request.app.state.front
    occluded = await front.checked(request, lambda value: _check(value, front))
    note: Note = request.scope["trivium.note"]
    note.size = max(note.size, occluded.characters)
    if front.settings.log_texts:
        note.texts = occluded.whole().texts
    found = await front.answers(request, occluded.wanted, occluded.rows, PART)
    whole = found.said[0]
    if isinstance(whole, Failed):
        raise failure([Detail("rows[0]", whole.why, COMPUTES)])
    answers = {
        name: _explained(form, occluded, whole[name], found)
        for name, form in occluded.forms.items()
    }
    told = {"model": front.settings.name, "answers": [answers]}
    return answered(told | {"tokens": found.tokens, "timing": timing(found)})


def _check(value: Any, front: Front) -> Occluded:
    body = check_keys(value, ("rows", "tasks"), ("rows",))
    tasks, rows = check_tasks(body, front.forms), body["rows"]
    if isinstance(rows, list) and len(rows) > 1:
        refuse("rows", f"{len(rows):,} rows", "one row", "send a request for each")
    wanted, _ = check_rows(rows, front.forms, tasks)
    forms = {name: front.forms[name] for name in wanted.texts}
    row = rows[0] if isinstance(rows, list) else rows
    columns = dict.fromkeys(column for form in forms.values() for column in form.text)
    spots = [(column, place) for column in columns for place in places_of([row[column]])]
    if len(spots) > (most := front.settings.max_rows - 1):
        allowed = f"up to {most:,}, since each asks one row"
        raise _too_many_words(f"{len(spots):,} words", allowed, " (max_rows of /v1/info)")
    found = Occluded(forms, row, spots)
    if found.characters > (most := MOST_PER_TOKEN * front.service.load().most_tokens):
        allowed = f"up to {most:,} characters in all copies"
        had = f"{len(spots):,} words, for each a copy of its text: {found.characters:,} characters"
        raise _too_many_words(had, allowed)
    return found


def _too_many_words(found: str, allowed: str, limit: str = "") -> Problem:
    message = f"rows[0]: found {found}; allowed are {allowed}{limit}."
    return Problem(413, "too_many_words", message, [Detail("rows[0]", found, allowed, PART)])


def _explained(form: Form, asked: Occluded, whole_K: Floats, found: Answers) -> dict[str, Any]:
    """A task's answer, and the words of the columns that it reads, in their order."""
    says = says_of(form)
    output = output_about(form, None, whole_K[None])
    value = _told(says, whole_K, output)
    words = []
    for number, (column, place) in enumerate(asked.spots, start=1):
        if column not in form.text:
            continue
        said = found.said[number]
        effect = (
            None
            if isinstance(said, Failed)
            else round(value - _told(says, said[form.name], output), 6)
        )
        words.append(
            {
                "column": column,
                "start": place.start,
                "end": place.end,
                "word": asked.row[column][place.start : place.end],
                "effect": effect,
            }
        )
    told = {
        "prediction": says.answers(whole_K[None])[0],
        "about": says.names[output],
        "value": round(value, 6),
        "words": words,
    }
    cut = cut_of(found.rows[0], form.name)
    return told if cut is None else told | {"cut": cut}


def _told(says: Says, readout_K: Floats, output: int) -> float:
    """What people are told of one output: calibrated, where the model is."""
    return float(says.told(readout_K[None])[0, output])
