"""Bodies that differ from model to model: rows with its columns, answers with its labels."""

from collections.abc import Mapping
from typing import Any

from trivium.answering.decide import ABSTAINED
from trivium.answering.form import Form
from trivium.answering.says import Labels, OneLabel, Score, SeveralLabels
from trivium.apps.serve.front import Front
from trivium.apps.serve.oip import outputs_of
from trivium.apps.serve.sayings import says_of
from trivium.apps.serve.schemas import TEXT

Json = dict[str, Any]

SAMPLE = "Where is my parcel?"
NUMBER: Json = {"type": "number"}
NULL: Json = {"type": "null"}
NAMED: dict[str, Json] = {"text": TEXT, "text_pair": TEXT}
ONE: Json = {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 1}
PAIR: Json = ONE | {"minItems": 2, "maxItems": 2}


def bodies(front: Front) -> tuple[Json, dict[str, Json]]:
    """Schemas by name, and examples of bodies by route."""
    forms = front.forms
    most = front.settings.max_rows
    schemas = {
        "Row": _row(forms),
        "PredictBody": _predict_body(forms, most),
        "Predicted": _predicted(forms),
        "ExplainBody": _explain_body(forms),
        "Explained": _explained(forms),
        "TextBody": _task_body(_either(TEXT, ONE, _object({"text": TEXT}, "text")), most),
        "PairBody": _task_body(_either(PAIR, _object(NAMED, *NAMED)), most),
        "TaskPredicted": _list(_either(_list(_ref("Scored"), 1), _ref("Error")), 1),
        "EmbeddingsBody": _embeddings_body(front.settings.name, most),
        "InferBody": _infer_body(forms, front.settings.name, most),
    }
    return schemas, _examples(front)


def _row(forms: Mapping[str, Form]) -> Json:
    """Texts by column; enough for one task at least."""
    columns = {column: TEXT for form in forms.values() for column in form.text}
    sets = dict.fromkeys(form.text for form in forms.values())
    return _object(columns) | {"anyOf": [{"required": list(each)} for each in sets]}


def _predict_body(forms: Mapping[str, Form], most: int) -> Json:
    properties: Json = {
        **_asked(forms, most),
        "probabilities": {"type": "boolean", "default": False},
        "top_k": {"type": ["integer", "null"], "minimum": 1, "maximum": 2**31},
    }
    return _object(properties, "rows") | {"allOf": _conditions(forms, most)}


def _explain_body(forms: Mapping[str, Form]) -> Json:
    """One row; how many words it may have is beyond a schema."""
    return _object(_asked(forms, 1), "rows") | {"allOf": _conditions(forms, 1)}


def _asked(forms: Mapping[str, Form], most: int) -> Json:
    names: Json = {"type": ["array", "null"], "items": {"enum": list(forms)}, "minItems": 1}
    return {
        "rows": _one_or_many(_ref("Row"), most),
        "tasks": names | {"uniqueItems": True, "description": "All that the columns allow."},
    }


def _conditions(forms: Mapping[str, Form], most: int) -> list[Json]:
    """Rows have the columns of the tasks that are named."""
    conditions: list[Json] = []
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
    return conditions


def _explained(forms: Mapping[str, Form]) -> Json:
    tasks = {}
    for name, form in forms.items():
        prediction = NUMBER if isinstance(says_of(form), Score) else {"type": "string"}
        about: Json = {"enum": list(says_of(form).names)}
        words: Json = {"type": "array", "items": _ref("Word")}
        told = {"prediction": prediction, "about": about, "value": NUMBER, "words": words}
        tasks[name] = _object(told | {"cut": _ref("Cut")}, *told)
    answers = _list(_object(tasks) | {"minProperties": 1}, 1) | {"maxItems": 1}
    told = {"model": {"type": "string"}, "answers": answers, "tokens": {"type": "integer"}}
    return _object(told | {"timing": _ref("Timing")}, *told, "timing")


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
    properties: Json = {
        "prediction": label,
        "confidence": NUMBER,
        "probabilities": _object(dict.fromkeys(names, NUMBER), *names),
        "top": _list(_ref("Scored"), 1),
        "cut": _ref("Cut"),
    }
    assert isinstance(says, Labels)
    if says.abstains:
        properties["answered"] = {"enum": ["yes", "no"]}
        if isinstance(says, OneLabel):
            label["enum"] = [*names, ABSTAINED]
    if isinstance(says, SeveralLabels):
        del properties["confidence"]
        return _object(properties | {"labels": _list({"enum": names}, 0)}, "prediction", "labels")
    return _object(properties, "prediction", "confidence")


def _task_body(row: Json, most: int) -> Json:
    parameters = _either(_ref("Parameters"), NULL)
    return _object({"inputs": _one_or_many(row, most), "parameters": parameters}, "inputs")


def _embeddings_body(name: str, most: int) -> Json:
    """As OpenAI's clients send it."""
    return _object(
        {
            "input": _one_or_many(TEXT, most),
            "model": {"enum": [name, None]},
            "encoding_format": {
                "enum": ["float", "base64", None],
                "description": "base64: little-endian float32.",
            },
            "dimensions": NULL,
            "user": {"type": ["string", "null"]},
        },
        "input",
    )


def _infer_body(forms: Mapping[str, Form], model: str, most: int) -> Json:
    columns = list(dict.fromkeys(column for form in forms.values() for column in form.text))
    names = [name for form in forms.values() for name, _, _ in outputs_of(form)]
    parameters: Json = {"type": ["object", "null"], "properties": {}}
    tensor = _object(
        {
            "name": {"enum": columns},
            "datatype": {"const": "BYTES"},
            "shape": {
                "type": "array",
                "items": {"type": "integer", "minimum": 1},
                "minItems": 1,
                "maxItems": 2,
                "description": "[rows] or [rows, 1]; all inputs have as many rows.",
            },
            "data": _list(_either(TEXT, _list(TEXT, 1)), 1) | {"maxItems": most},
            "parameters": parameters,
        },
        "name", "datatype", "shape", "data",
    )  # fmt: skip
    output = _object({"name": {"enum": names}, "parameters": parameters}, "name")
    return _object(
        {
            "id": {"type": ["string", "null"]},
            "model_name": {"enum": [model, None]},
            "parameters": parameters,
            "inputs": _list(tensor, 1),
            "outputs": {"type": ["array", "null"], "items": output},
        },
        "inputs",
    )


def _examples(front: Front) -> dict[str, Json]:
    forms = front.forms
    rows = [dict.fromkeys(columns, SAMPLE) for columns in {form.text: 0 for form in forms.values()}]
    first = next(iter(forms.values()))
    named = {"rows": rows[0], "tasks": [first.name], "probabilities": True}
    tensors = [
        {"name": column, "shape": [1], "datatype": "BYTES", "data": [SAMPLE]}
        for column in first.text
    ]
    found: dict[str, Json] = {
        "/v1/predict": {"all tasks": {"rows": rows}, f"{first.name} in detail": named},
        "/v1/explain": {"all tasks": {"rows": rows[0]}},
        "/v1/embeddings": {"one text": {"input": SAMPLE}},
        "/v2/models/{name}/infer": {first.name: {"inputs": tensors}},
    }
    for name, form in forms.items():
        inputs = [[SAMPLE, SAMPLE]] if form.is_pair else [SAMPLE]
        found[task_path(name)] = {name: {"inputs": inputs, "parameters": {"top_k": 2}}}
    return found


def task_path(task: str) -> str:
    """Where one task is asked: described by itself, since its inputs are texts or pairs."""
    return f"/v1/tasks/{task}/predict"


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
