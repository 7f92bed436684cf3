"""The Open Inference Protocol, version 2, as KServe and its clients speak it: columns as inputs of
texts (BYTES), and of each task two outputs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from trivium import __version__
from trivium.answering.form import Form
from trivium.answering.rows import Wanted, answered_by, none_fits
from trivium.answering.says import Score
from trivium.apps.serve.asks import Failed
from trivium.apps.serve.bodies import BINARY
from trivium.apps.serve.checks import check_keys, is_count, refuse, refuse_too_many, text_fault
from trivium.apps.serve.errors import Detail, Faults, Problem, found_text
from trivium.apps.serve.front import COMPUTES, Answers, Front, failure
from trivium.apps.serve.routes import answered
from trivium.apps.serve.sayings import by_task, says_of
from trivium.apps.serve.tensors import EXTENSION, SIZE, as_bytes, joined, parse_tensors

PROBABILITIES = ".probabilities"
"""Ends the name of a task's second output; task names have no dots."""
KEYS = ("id", "model_name", "parameters", "inputs", "outputs")
"""Of a question; the model's name, which the path has already, is said by KServe's client."""


async def server(request: Request) -> Response:  # noqa: ARG001 all routes are asked alike
    """The server's name and version."""
    return answered({"name": "trivium", "version": __version__, "extensions": [EXTENSION]})


async def live(request: Request) -> Response:
    """Whether the process is to be left alone: 503 where only a restart helps."""
    front: Front = request.app.state.front
    front.refuse_if_dead()
    return answered({"live": True})


async def ready(request: Request) -> Response:
    """Whether requests should be sent here."""
    front: Front = request.app.state.front
    front.refuse_if_not_ready()
    return answered({"ready": True})


async def model(request: Request) -> Response:
    """Inputs and outputs of the model."""
    front = _front(request)
    columns = dict.fromkeys(column for form in front.forms.values() for column in form.text)
    return answered(
        {
            "name": front.settings.name,
            "versions": [],
            "platform": f"trivium_{front.described.backend}",
            "inputs": [{"name": c, "datatype": "BYTES", "shape": [-1]} for c in columns],
            "outputs": [
                {"name": name, "datatype": datatype, "shape": [-1, *shape]}
                for form in front.forms.values()
                for name, datatype, shape in outputs_of(form)
            ],
        }
    )


async def model_ready(request: Request) -> Response:
    """Whether the model answers."""
    front = _front(request)
    front.refuse_if_not_ready()
    return answered({"name": front.settings.name, "ready": True})


async def infer(request: Request) -> Response:
    """Texts by column in, answers out: of task `topic` the output `topic` (labels, or scores) and,
    of labels, `topic.probabilities`, in the order that /v1/info tells. Rows share their columns."""
    front = _front(request)

    def parsed(body: bytes) -> Any:
        return parse_tensors(body, request.headers.get(BINARY))

    def check(value: Any) -> tuple[Wanted, int, list[str], set[str], str | None]:
        body = check_keys(value, KEYS, ("inputs",))
        number = body.get("id")
        if not isinstance(number, str | None):
            refuse("id", found_text(number), "a text")
        if body.get("model_name") not in (None, front.settings.name):
            refuse("model_name", found_text(body["model_name"]), repr(front.settings.name))
        _check_parameters(body, "")
        columns, count = _columns(body["inputs"], front)
        outputs = _asked_for(body.get("outputs"), front, columns)
        wanted = _wanted(columns, outputs, front.forms)
        return wanted, count, outputs, as_bytes(body, outputs), number

    wanted, count, outputs, binary, number = await front.checked(request, check, parsed)
    found = await front.answers(request, wanted, count)
    failed = [(n, one.why) for n, one in enumerate(found.said) if isinstance(one, Failed)]
    if failed:  # a tensor has no place for one row's error
        raise failure([Detail(f"rows[{n}]", why, COMPUTES) for n, why in failed])
    tensors = _tensors(found, front.forms, count)
    body = {"model_name": front.settings.name, "outputs": [tensors[name] for name in outputs]}
    told = body if number is None else {"id": number, **body}
    return joined(told, binary) if binary else answered(told)


def _tensors(found: Answers, forms: Mapping[str, Form], count: int) -> dict[str, dict[str, Any]]:
    """By name, in JSON's form."""
    tensors: dict[str, dict[str, Any]] = {}
    for task, (_, readout_BK) in by_task(found).items():
        says = says_of(forms[task])
        numbers = says.told(readout_BK).astype(np.float64).round(6).reshape(-1).tolist()
        for name, datatype, shape in outputs_of(forms[task]):
            data = numbers if name.endswith(PROBABILITIES) else says.answers(readout_BK)
            told = {"name": name, "datatype": datatype, "shape": [count, *shape], "data": data}
            tensors[name] = told
    return tensors


def _front(request: Request) -> Front:
    """Raises Problem for another model's name."""
    front: Front = request.app.state.front
    name, ours = request.path_params["name"], front.settings.name
    if name != ours:
        detail = Detail("model", found_text(name), repr(ours))
        message = f"no model {found_text(name)} here; there is {ours!r}."
        raise Problem(404, "unknown_model", message, [detail])
    return front


def outputs_of(form: Form) -> list[tuple[str, str, list[int]]]:
    """Of a task: name, type, and shape of a row."""
    says = says_of(form)
    if isinstance(says, Score):
        return [(form.name, "FP32", [])]
    return [(form.name, "BYTES", []), (form.name + PROBABILITIES, "FP32", [says.outputs])]


def _columns(inputs: Any, front: Front) -> tuple[dict[str, list[str]], int]:
    """Texts by column, and how many rows they make. Raises Problem."""
    if not isinstance(inputs, list) or not inputs:
        refuse("inputs", found_text(inputs), "a list of tensors, one at least")
    known = {column for form in front.forms.values() for column in form.text}
    columns: dict[str, list[str]] = {}
    for place, tensor in enumerate(inputs):
        where = f"inputs[{place}]"
        keys = ("name", "shape", "datatype", "data")
        given = check_keys(tensor, (*keys, "parameters"), keys, where)
        _check_parameters(given, f"{where}.")
        faults, name = Faults(), given["name"]
        if not isinstance(name, str) or name not in known:
            faults.add_unknown(f"{where}.name", name, sorted(known), "a column out of")
        elif name in columns:
            faults.add(f"{where}.name", found_text(name), "every column once")
        if given["datatype"] != "BYTES":
            faults.add(f"{where}.datatype", found_text(given["datatype"]), "'BYTES'")
        faults.refuse()
        columns[name] = _data(given, where, front.settings.max_rows)
        first = next(iter(columns.values()))
        if len(columns[name]) != len(first):
            refuse(f"{where}.shape", f"{len(columns[name])} rows", f"{len(first)}, as before")
    return columns, len(first)


def _data(tensor: Mapping[str, Any], where: str, most: int) -> list[str]:
    """A column's texts. Raises Problem."""
    shape, data = tensor["shape"], tensor["data"]
    sizes = shape if isinstance(shape, list) else []
    if not sizes or not all(map(is_count, sizes)) or sizes[1:] not in ([], [1]):
        refuse(f"{where}.shape", found_text(shape), "[rows] or [rows, 1], one row at least")
    if not isinstance(data, list):
        refuse(f"{where}.data", found_text(data), "a list of texts")
    refuse_too_many(len(data), most, f"{where}.data")
    if len(data) != math.prod(sizes):
        refuse(f"{where}.data", f"{len(data)} elements", f"{sizes[0]}, as the shape says")
    faults, texts = Faults(), []
    for number, cell in enumerate(data):
        text = cell[0] if isinstance(cell, list) and len(cell) == 1 == len(sizes[1:]) else cell
        if (fault := text_fault(text)) is not None:
            faults.add(f"{where}.data[{number}]", *fault)
        texts.append(text)
    faults.refuse()
    return texts


def _asked_for(outputs: Any, front: Front, columns: Mapping[str, object]) -> list[str]:
    """Names of the tensors that are wanted: those named, or all that the columns allow."""
    fitting = answered_by(front.forms, columns)
    possible = [name for form in fitting.values() for name, _, _ in outputs_of(form)]
    if not possible:
        refuse("inputs", f"columns {', '.join(columns)}", "columns of a task",
               none_fits(front.forms, columns))  # fmt: skip
    if outputs is None or outputs == []:
        return possible
    if not isinstance(outputs, list):
        refuse("outputs", found_text(outputs), "a list of outputs")
    names: list[str] = []
    for place, output in enumerate(outputs):
        where, faults = f"outputs[{place}]", Faults()
        given = check_keys(output, ("name", "parameters"), ("name",), where)
        _check_parameters(given, f"{where}.")
        name = given["name"]
        if name not in possible:
            what = "an output that these columns allow, out of"
            faults.add_unknown(f"{where}.name", name, possible, what)
        elif name in names:
            faults.add(f"{where}.name", found_text(name), "every output once")
        faults.refuse()
        names.append(name)
    return names


def _wanted(
    columns: Mapping[str, Sequence[str]], outputs: Sequence[str], forms: Mapping[str, Form]
) -> Wanted:
    tasks = dict.fromkeys(name.removesuffix(PROBABILITIES) for name in outputs)
    wanted = Wanted()
    for task in tasks:
        for number, texts in enumerate(zip(*(columns[c] for c in forms[task].text), strict=True)):
            wanted.add(task, number, texts)
    return wanted


def _check_parameters(given: Mapping[str, Any], where: str) -> None:
    """What a client may set, and this server does without: nothing is meant by any of it."""
    value = given.get("parameters")
    if not isinstance(value, dict | None):
        refuse(f"{where}parameters", found_text(value), "an object")
    if isinstance(value, dict) and SIZE in value:  # what was there is in its place already
        refuse(f"{where}parameters.{SIZE}", "no bytes behind the JSON",
               f"them, and the header {BINARY}")  # fmt: skip
