"""Questions about rows: `/v1/predict`, and the hub's form of text classification."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from trivium.answering.form import Form
from trivium.answering.rows import Wanted
from trivium.apps.serve.asks import Failed
from trivium.apps.serve.checks import (
    check_flag,
    check_keys,
    check_rows,
    check_tasks,
    check_top_k,
    refuse,
    refuse_too_many,
    text_fault,
)
from trivium.apps.serve.errors import Detail, Faults, Problem, found_text
from trivium.apps.serve.front import Answers, Front
from trivium.apps.serve.jsons import dumps
from trivium.apps.serve.sayings import answers_by_row, by_task, failure_of_row, says_of, scored
from trivium.errors import did_you_mean


def answered(value: Any) -> Response:
    return Response(dumps(value), media_type="application/json")


async def predict(request: Request) -> Response:
    """Rows as in the training tables, by column: every task whose columns a row has answers it."""
    front: Front = request.app.state.front

    def check(value: Any) -> tuple[Wanted, int, bool, int | None]:
        body = check_keys(value, ("rows", "tasks", "probabilities", "top_k"), ("rows",))
        tasks = check_tasks(body, front.forms)
        detailed, top_k = check_flag(body, "probabilities"), check_top_k(body)
        rows = body["rows"]
        if isinstance(rows, list):
            refuse_too_many(len(rows), front.settings.max_rows)
        return *check_rows(rows, front.forms, tasks), detailed, top_k

    wanted, count, detailed, top_k = await front.checked(request, check)
    found = await front.answers(request, wanted, count)
    answers = answers_by_row(found, front.forms, probabilities=detailed, top_k=top_k)
    told = {"model": front.settings.name, "answers": answers}
    return answered(told | {"tokens": found.tokens, "timing": timing(found)})


async def predict_task(request: Request) -> Response:
    """One task, in the form of Hugging Face's text classification: labels with their scores, the
    best first, for each of the inputs."""
    front: Front = request.app.state.front
    form = _task(request.path_params["task"], front)

    def check(value: Any) -> tuple[Wanted, int | None]:
        body = check_keys(value, ("inputs", "parameters"), ("inputs",))
        parameters = body.get("parameters")
        given = check_keys({} if parameters is None else parameters, ("top_k",), (), "parameters")
        rows = check_inputs(body["inputs"], form, front.settings.max_rows)
        wanted = Wanted()
        for number, texts in enumerate(rows):
            wanted.add(form.name, number, texts)
        return wanted, check_top_k(given, "parameters.top_k")

    wanted, top_k = await front.checked(request, check)
    found = await front.answers(request, wanted, len(wanted.texts[form.name]))
    rows: list[Any] = [
        failure_of_row(number, said) if isinstance(said, Failed) else None
        for number, said in enumerate(found.said)
    ]
    places, readout_BK = by_task(found)[form.name]
    for place, labels in zip(places, scored(says_of(form), readout_BK, top_k), strict=True):
        rows[place] = labels
    return answered(rows)


def timing(found: Answers) -> dict[str, float]:
    queued, computed = found.queued_s, found.computed_s
    return {"queue_ms": round(queued * 1e3, 3), "compute_ms": round(computed * 1e3, 3)}


def check_inputs(value: Any, form: Form, most: int) -> list[tuple[str, ...]]:
    """Texts, or pairs, of one row or of many. Raises Problem.

    A text stands alone, or in a list; a pair is a list of two texts, or an object with `text` and
    `text_pair`.
    """
    rows, is_many = [value], False
    if isinstance(value, list) and not (form.is_pair and all(isinstance(v, str) for v in value)):
        rows, is_many = value, True
    if value == []:
        refuse("inputs", "an empty list", "one at least")
    refuse_too_many(len(rows), most, "inputs")
    faults, found = Faults(), []
    for number, row in enumerate(rows):
        where = f"inputs[{number}]" if is_many else "inputs"
        texts = _texts(row, form, where, faults)
        for place, text in enumerate(texts):
            if (fault := text_fault(text)) is not None:
                faults.add(f"{where}[{place}]" if form.is_pair else where, *fault)
        found.append(tuple(texts))
    faults.refuse()
    return found


def _texts(row: Any, form: Form, where: str, faults: Faults) -> list[Any]:
    """Of one of the inputs; none where it is not of the form, which is told."""
    keys = ("text", "text_pair") if form.is_pair else ("text",)
    if isinstance(row, str) and not form.is_pair:
        return [row]
    if isinstance(row, dict) and set(row) == set(keys):
        return [row[key] for key in keys]
    if isinstance(row, list) and len(row) == len(keys):
        return row
    one = ["a text", "a list of two texts"][form.is_pair]
    which = f"{one}, or an object with {' and '.join(keys)}"
    faults.add(where, found_text(row), which, f"{form.name!r} reads {' and '.join(form.text)}")
    return []


def _task(name: str, front: Front) -> Form:
    if name not in front.forms:
        hint = did_you_mean(name[:80], front.forms).removeprefix("; ")
        detail = Detail("task", repr(name[:80]), ", ".join(map(repr, front.forms)), hint)
        raise Problem(404, "unknown_task", f"no task {name[:80]!r} in this model; {hint}", [detail])
    return front.forms[name]
