"""Bodies that differ from model to model: rows with its columns, answers with its labels."""

from collections.abc import Mapping
from typing import Any

from trivium.answering.form import Form
from trivium.answering.says import Score, SeveralLabels
from trivium.apps.serve.front import Front
from trivium.apps.serve.oip import outputs_of
from trivium.apps.serve.sayings import says_of
from trivium.apps.serve.schemas import TEXT

Json = dict[str, Any]

SAMPLE = "Where is my parcel?"
NUMBER: Json = {"type": "number"}


def bodies(front: Front) -> tuple[Json, dict[str, Json]]:
    """Schemas by name, and examples of bodies by route."""
    forms = front.forms
    most = front.settings.max_rows
    schemas = {
        "Row": _row(forms),
        "PredictBody": _predict_body(forms, most),
        "Predicted": _predicted(forms),
        "TaskBody": _task_body(forms, most),
        "TaskPredicted": _list(_either(_list(_ref("Scored"), 1), _ref("Error")), 1),
        "InferBody": _infer_body(forms, most),
    }
    return schemas, _examples(front)


def _row(forms: Mapping[str, Form]) -> Json:
    """Texts by column; enough for one task at least."""
    columns = {column: TEXT for form in forms.values() for column in form.text}
    sets = dict.fromkeys(form.text for form in forms.values())
    return _object(columns) | {"anyOf": [{"required": list(each)} for each in sets]}


def _predict_body(forms: Mapping[str, Form], most: int) -> Json:
    names: Json = {"type": ["array", "null"], "items": {"enum": list(forms)}, "minItems": 1}
    rows = _one_or_many(_ref("Row"), most)
    properties: Json = {
        "rows": rows,
        "tasks": names | {"uniqueItems": True, "description": "All that the columns allow."},
        "probabilities": {"type": "boolean", "default": False},
        "top_k": {"type": ["integer", "null"], "minimum": 1, "maximum": 2**31},
    }
    conditions = []
    for columns in dict.fromkeys(form.text for form in forms.values()):
        asking = [name for name, form in forms.items() if form.text == columns]
        needed = _one_or_many({"type": "object", "required": list(columns)}, most)
        named = {"type": "array", "contains": {"enum": asking}}
        conditions.append(
            {
                "if": {"properties": {"tasks": named}, "required": ["tasks"]},
                "then": {"properties": {"rows": needed}},
            }
        )
    return _object(properties, "rows") | {"allOf": conditions}


def _predicted(forms: Mapping[str, Form]) -> Json:
    answers = _object({name: _answer(form) for name, form in forms.items()})
    each = _either(answers | {"minProperties": 1}, _ref("Error"))
    return _object(
        {
            "model": {"type": "string"},
            "answers": _list(each, 1),
            "tokens": {"type": "integer"},
            "timing": _ref("Timing"),
        },
        "model", "answers", "tokens", "timing",
    )  # fmt: skip


def _answer(form: Form) -> Json:
    says = says_of(form)
    if isinstance(says, Score):
        return _object({"prediction": NUMBER, "cut": _ref("Cut")}, "prediction")
    names = list(says.names)
    label: Json = {"type": "string"} if isinstance(says, SeveralLabels) else {"enum": names}
    properties = {
        "prediction": label,
        "confidence": NUMBER,
        "probabilities": _object(dict.fromkeys(names, NUMBER), *names),
        "top": _list(_ref("Scored"), 1),
        "cut": _ref("Cut"),
    }
    if isinstance(says, SeveralLabels):
        del properties["confidence"]
        return _object(properties | {"labels": _list({"enum": names}, 0)}, "prediction", "labels")
    return _object(properties, "prediction", "confidence")


def _task_body(forms: Mapping[str, Form], most: int) -> Json:
    """Texts for a task about texts, pairs for one about pairs; which it is, the path says."""
    pair: Json = {"type": "array", "items": TEXT, "minItems": 2, "maxItems": 2}
    named = {"text": TEXT, "text_pair": TEXT}
    one: Json = {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 1}
    kinds: list[tuple[Json, ...]] = []
    if any(not form.is_pair for form in forms.values()):
        kinds.append((TEXT, one, _object({"text": TEXT}, "text")))
    if any(form.is_pair for form in forms.values()):
        kinds.append((pair, _object(named, "text", "text_pair")))
    rows = [_one_or_many(_either(*kind), most) for kind in kinds]
    return _object({"inputs": _either(*rows), "parameters": _either(_ref("Parameters"), NULL)},
                   "inputs")  # fmt: skip


def _infer_body(forms: Mapping[str, Form], most: int) -> Json:
    columns = list(dict.fromkeys(column for form in forms.values() for column in form.text))
    names = [name for form in forms.values() for name, _, _ in outputs_of(form)]
    parameters: Json = {"type": ["object", "null"], "properties": {}}
    tensor = _object(
        {
            "name": {"enum": columns},
            "datatype": {"const": "BYTES"},
            "shape": {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2},
            "data": _list(_either(TEXT, _list(TEXT, 1)), 1) | {"maxItems": most},
            "parameters": parameters,
        },
        "name", "datatype", "shape", "data",
    )  # fmt: skip
    output = _object({"name": {"enum": names}, "parameters": parameters}, "name")
    return _object(
        {
            "id": {"type": ["string", "null"]},
            "parameters": parameters,
            "inputs": _list(tensor, 1),
            "outputs": {"type": ["array", "null"], "items": output},
        },
        "inputs",
    )


def _examples(front: Front) -> dict[str, Json]:
    forms = front.forms
    by_columns = {form.text: form for form in forms.values()}
    rows = [dict.fromkeys(form.text, SAMPLE) for form in by_columns.values()]
    first = next(iter(forms.values()))
    tensors = [
        {"name": column, "shape": [1], "datatype": "BYTES", "data": [SAMPLE]}
        for column in first.text
    ]
    task = f"{first.name} with probabilities"
    named = {"rows": rows[0], "tasks": [first.name], "probabilities": True}
    # Which inputs fit is a matter of the task, so that each of them has its example.
    inputs = {
        name: {"inputs": [[SAMPLE, SAMPLE]] if form.is_pair else [SAMPLE]}
        for name, form in forms.items()
    }
    first_named = next(iter(by_columns.values())).text
    rows[0] = dict.fromkeys(first_named, SAMPLE)
    return {
        "/v1/predict": {"every task": {"rows": rows}, task: named},
        "/v1/tasks/{task}/predict": inputs,
        "/v1/embeddings": {"one text": {"input": SAMPLE}},
        "/v2/models/{name}/infer": {first.name: {"inputs": tensors}},
    }


NULL: Json = {"type": "null"}


def _object(properties: Mapping[str, Any], *required: str) -> Json:
    found: Json = {"type": "object", "properties": dict(properties), "additionalProperties": False}
    return found | ({"required": list(required)} if required else {})


def _list(items: Json, least: int) -> Json:
    return {"type": "array", "items": items, "minItems": least}


def _one_or_many(row: Json, most: int) -> Json:
    return _either(row, _list(row, 1) | {"maxItems": most})


def _either(*schemas: Json) -> Json:
    return {"anyOf": list(schemas)}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}
