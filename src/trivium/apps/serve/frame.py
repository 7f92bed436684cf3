"""Around every request: its id, the key, the log and the metrics, and problems as answers."""

import asyncio
import secrets
import time
import traceback
from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trivium.apps.serve.errors import Problem
from trivium.apps.serve.keys import OPEN, Keys
from trivium.apps.serve.logs import Log
from trivium.apps.serve.metrics import Metrics
from trivium.apps.serve.notes import ID, Note
from trivium.apps.serve.refusing import Refusal, Refusals
from trivium.apps.serve.settings import Settings

METRICS = "/metrics"


class Frame:
    """Middleware, in plain ASGI: what wraps requests in objects costs as much as it does."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics, log: Log) -> None:
        self.app, self.metrics, self.log = app, metrics, log
        self.keys = Keys(settings.api_keys)
        self.open = OPEN if settings.metrics_key else OPEN | {METRICS}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        known = given if ID.fullmatch(given) else secrets.token_hex(8)
        note = Note(known, asyncio.get_running_loop().time())
        method = scope["method"]
        if method == "HEAD":  # as GET, without the body; the server's own record stays as it is
            scope = dict(scope) | {"method": "GET"}
        scope["trivium.note"] = note
        answer = _Answer(send, note, scope, has_body=method != "HEAD")
        try:
            await self._answered(scope, receive, answer, headers)
        finally:
            note.route = getattr(scope.get("route"), "path_format", note.route)
            seconds = time.perf_counter() - began
            self.metrics.count(note, seconds)
            self.log.request(note, seconds, method)

    async def _answered(
        self, scope: Scope, receive: Receive, answer: "_Answer", headers: Headers
    ) -> None:
        note: Note = scope["trivium.note"]
        try:
            if self.keys.digests and scope["path"] not in self.open:
                self.keys.refuse_others(headers.get("authorization"))
            if (refusal := _refusal(scope, note)) is not None:
                note.code = refusal.code
                start = {"status": refusal.status, "headers": [*refusal.headers]}
                await answer({"type": "http.response.start", **start})
                await answer({"type": "http.response.body", "body": refusal.body})
                return
            await self.app(scope, receive, answer)
        except Problem as problem:
            note.code = problem.code
            await problem.response(scope["path"])(scope, receive, answer)
        except ClientDisconnect:
            return
        except Exception as error:
            # Its message may hold a text; where it was raised does not.
            where = "".join(traceback.format_tb(error.__traceback__))
            told = {"event": "error", "id": note.id, "error": type(error).__name__, "where": where}
            self.log.write("error", told)
            if note.status:
                raise
            note.code = "internal"
            message = f"the server made a mistake; its log tells more of {note.id}."
            mistake = Problem(500, "internal", message)
            await mistake.response(scope["path"])(scope, receive, answer)


class _Answer:
    """Sends what the app says, with the headers that every answer has."""

    def __init__(self, send: Send, note: Note, scope: Scope, *, has_body: bool) -> None:
        self.send, self.note, self.scope, self.has_body = send, note, scope, has_body

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.note.status = message["status"]
            headers = message.setdefault("headers", [])
            headers.append((b"x-request-id", self.note.id.encode("ascii")))
            if _is_draining(self.scope) and not any(n == b"connection" for n, _ in headers):
                headers.append((b"connection", b"close"))  # so that the client goes elsewhere next
        elif not self.has_body and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await self.send(message)


def _refusal(scope: Scope, note: Note) -> Refusal | None:
    """Of a question that no route need look at."""
    refusals: Refusals | None = getattr(scope["app"].state, "refusals", None)
    if refusals is None or scope["method"] != "POST":
        return None
    route = refusals.routes.get(scope["path"])
    refusal = refusals.of(scope, note.arrived) if route else None
    if route and refusal:
        note.route = route
    return refusal


def _is_draining(scope: MutableMapping[str, Any]) -> bool:
    front = getattr(scope["app"].state, "front", None)
    return front is not None and front.is_draining
