"""`/openapi.json`: every route with its bodies, answers and errors, and this model's own tasks."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any

from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.routing import BaseRoute

from trivium import __version__
from trivium.apps.serve import schemas
from trivium.apps.serve.bodies_described import bodies, task_path
from trivium.apps.serve.errors import is_v2
from trivium.apps.serve.front import Front
from trivium.apps.serve.keys import OPEN

Json = dict[str, Any]

TASKS = "/v1/tasks/"

ERRORS = {
    400: "Not JSON, or a header that cannot be read",
    401: "The key is missing or wrong",
    404: "No such task or model here",
    408: "The body was not there in time",
    413: "More bytes, rows or tokens than the limits of /v1/info",
    415: "A content type other than JSON",
    422: "What the body says is wrong: `details` lists every place",
    429: "The queue is full",
    431: "URL and headers are too long",
    500: "No row could be computed",
    503: "Not ready, or about to stop",
    504: "The deadline passed",
}
OF_POST = (400, 408, 413, 415, 422, 429, 431, 500, 503, 504)
ANSWERS = {
    "/v1/predict": "Predicted",
    "/v1/explain": "Explained",
    "/v1/embeddings": "Embeddings",
    "/v1/info": "Info",
    "/health/live": "Live",
    "/health/ready": "Ready",
    "/v2": "ServerMetadata",
    "/v2/health/live": "ServerLive",
    "/v2/health/ready": "ServerReady",
    "/v2/models/{name}": "ModelMetadata",
    "/v2/models/{name}/ready": "ModelReady",
    "/v2/models/{name}/infer": "InferAnswer",
}
BODIES = {
    "/v1/predict": "PredictBody",
    "/v1/explain": "ExplainBody",
    "/v1/embeddings": "EmbeddingsBody",
    "/v2/models/{name}/infer": "InferBody",
}
HEADERS: dict[int, str] = {401: "WWW-Authenticate", 429: "Retry-After"}


def document(routes: Sequence[BaseRoute], front: Front) -> Json:
    """The whole document. routes: of the application."""
    found = get_openapi(title="Trivium", version=__version__, routes=routes)
    _, static = models_json_schema(
        [(model, "validation") for model in schemas.STATIC],
        ref_template="#/components/schemas/{model}",
    )
    own, examples = bodies(front)
    components: Json = {"schemas": static["$defs"] | own}
    has_keys = bool(front.settings.api_keys)
    if has_keys:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    paths: Json = dict(_task_by_task(found["paths"], front))
    for path, operations in paths.items():
        for method, operation in operations.items():
            is_open = path in OPEN or (path == "/metrics" and not front.settings.metrics_key)
            _describe(operation, path, front, is_post=method == "post")
            if has_keys and not is_open:
                operation["security"] = [{"key": []}]
                operation["responses"]["401"] = _error(401, path)
            if method == "post":
                operation["requestBody"] = _body(_body_of(path, front), examples.get(path))
    return {
        "openapi": "3.1.0",
        "info": {"title": f"Trivium: {front.settings.name}", "version": __version__},
        "paths": paths,
        "components": components,
    }


def _describe(operation: Json, path: str, front: Front, *, is_post: bool) -> None:
    """Summary, parameters and answers of an operation."""
    first, _, rest = operation.get("description", "").partition(". ")
    operation["summary"] = first.replace("\n", " ").rstrip(".")
    operation["description"] = (rest or first).replace("\n", " ")
    operation["operationId"] = path.strip("/").translate(str.maketrans("/", "_", "{}"))
    operation["parameters"] = _parameters(path, front, is_post=is_post)
    statuses = [*OF_POST] if is_post else []
    if "{" in path or path == "/v1/embeddings" or path.startswith(TASKS):
        statuses.append(404)
    if path.endswith(("/ready", "/live")):
        statuses.append(503)
    kind = "text/plain" if path == "/metrics" else "application/json"
    answer = "TaskPredicted" if path.startswith(TASKS) else ANSWERS.get(path)
    schema = _ref(answer) if answer else {"type": "string"}
    found: Json = {"200": {"description": "Answered", "content": {kind: {"schema": schema}}}}
    if path.endswith("/infer"):  # where tensors are wanted as bytes behind the JSON
        binary = {"schema": {"type": "string", "format": "binary"}}
        found["200"]["content"]["application/octet-stream"] = binary
    for status in sorted(statuses):
        found[str(status)] = _error(status, path)
    operation["responses"] = found


def _parameters(path: str, front: Front, *, is_post: bool) -> list[Json]:
    found = []
    if "{name}" in path:
        schema: Json = {"type": "string", "enum": [front.settings.name]}
        found.append({"name": "name", "in": "path", "required": True, "schema": schema})
    if is_post:
        said = "Seconds from the request's arrival; the server's own limit holds if it is less."
        schema = {"type": "number", "exclusiveMinimum": 0, "example": 2.5}
        found.append(
            {"name": "X-Request-Timeout", "in": "header", "description": said, "schema": schema}
        )
    return found


def _task_by_task(paths: Json, front: Front) -> Iterator[tuple[str, Json]]:
    """The route of tasks as one for each of them: some read texts, some pairs."""
    for path, operations in paths.items():
        if "{task}" not in path:
            yield path, operations
            continue
        for name in front.forms:
            yield task_path(name), deepcopy(operations)


def _body_of(path: str, front: Front) -> str:
    if not path.startswith(TASKS):
        return BODIES[path]
    return "PairBody" if front.forms[path.split("/")[3]].is_pair else "TextBody"


def _body(name: str, examples: Json | None) -> Json:
    content: Json = {"schema": _ref(name)}
    if examples:
        content["examples"] = {key: {"value": value} for key, value in examples.items()}
    return {"required": True, "content": {"application/json": content}}


def _error(status: int, path: str) -> Json:
    schema = _ref("InferError" if is_v2(path) else "Error")
    found: Json = {
        "description": ERRORS[status],
        "content": {"application/json": {"schema": schema}},
    }
    if status in HEADERS:
        found["headers"] = {HEADERS[status]: {"schema": {"type": "string"}, "required": True}}
    return found


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}
