"""`/v1/explain`: what the words of a row did for its answers, by leaving out one after the other.

Every word is a row in the queue, which all tasks share that read its column: so a text is bounded
by the rows that a request may hold, and nobody waits longer for it than for so many rows.
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
from trivium.apps.serve.routes import answered, timing
from trivium.apps.serve.sayings import cut_of, says_of


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

    def wanted(self) -> Wanted:
        found = Wanted()
        for number, texts in enumerate([self.row, *self._without()]):
            column = self.spots[number - 1][0] if number else None
            for name, form in self.forms.items():
                if column is None or column in form.text:
                    found.add(name, number, tuple(texts[each] for each in form.text))
        return found

    def _without(self) -> list[Mapping[str, str]]:
        return [
            {**self.row, column: without([self.row[column]], place)[0]}
            for column, place in self.spots
        ]


async def explain(request: Request) -> Response:
    """What each word of one row did for its answers: what is said with it, less what is said
    without it. Every word counts as a row."""
    front: Front = request.app.state.front
    occluded = await front.checked(request, lambda value: _check(value, front))
    found = await front.answers(request, occluded.wanted(), occluded.rows)
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
    _refuse_too_many_words(len(spots), front.settings.max_rows - 1)
    return Occluded(forms, row, spots)


def _refuse_too_many_words(words: int, most: int) -> None:
    if words > most:
        found, allowed = f"{words:,} words", f"up to {most:,}, since each asks one row"
        detail = Detail("rows[0]", found, allowed, "send a part of the text")
        message = f"rows[0]: found {found}; allowed are {allowed} (max_rows of /v1/info)."
        raise Problem(413, "too_many_words", message, [detail])


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
