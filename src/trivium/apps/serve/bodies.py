"""A request's body: read no further than it is allowed to go, and parsed."""

import asyncio
from contextlib import suppress
from typing import Any

from starlette.requests import ClientDisconnect, Request

from trivium.apps.serve.errors import Detail, Problem, is_v2
from trivium.apps.serve.jsons import NotJson, loads

PLAIN_TYPES = {
    "",
    "application/json",
    "text/json",
    "text/plain",
    "application/octet-stream",
    "application/x-www-form-urlencoded",  # what curl says of any body unless it is told
}
"""Content types that do not say that the body is something else than JSON."""
BINARY = "inference-header-content-length"
"""Header of a body that holds more than JSON: how long the JSON is."""
THROWN_AWAY = 8
"""Bodies of the greatest length: what is still read of one that is too long before it is refused,
since many clients read no answer before they have sent all."""


async def read_body(request: Request, limit: int, deadline: float) -> bytes:
    """Raises Problem: 413 beyond `limit` bytes, 408 where it is not all there by the deadline.

    deadline: of `loop.time()`. Raises ClientDisconnect if the client goes away.
    """
    refuse_other_types(request)
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        if "expect" not in request.headers:  # who asks before sending has sent nothing yet
            await _throw_away(request, limit * THROWN_AWAY, deadline)
        raise _too_long(f"{int(announced):,} bytes", limit)
    chunks: list[bytes] = []
    try:
        async with asyncio.timeout_at(deadline):
            is_whole = await _read_some(request, limit, chunks)
    except TimeoutError:
        size = sum(map(len, chunks))
        why = f"the body was not there in time; {size:,} bytes of it came."
        raise Problem(408, "slow_body", why, headers={"connection": "close"}) from None
    if is_whole:
        return b"".join(chunks) if len(chunks) != 1 else chunks[0]
    chunks.clear()
    await _throw_away(request, limit * THROWN_AWAY, deadline)
    raise _too_long(f"more than {limit:,} bytes", limit)


def parse(body: bytes) -> Any:
    """The value of a body. Raises Problem."""
    try:
        return loads(body)
    except NotJson as error:
        if error.is_deep:
            detail = Detail(
                "body", "too many brackets within brackets", "a body as in /openapi.json"
            )
            raise Problem(422, "invalid", "the body is nested too deeply.", [detail]) from None
        found = error.why if body else "nothing"
        detail = Detail(error.where, found, "JSON in UTF-8")
        message = f"the body is not JSON: {error.where}: {found}."
        raise Problem(400, "not_json", message, [detail]) from None


def refuse_other_types(request: Request) -> None:
    """Raises Problem where the headers say that the body is something else than JSON."""
    said = request.headers.get("content-type", "")
    kind, _, parameters = said.partition(";")
    kind, parameters = kind.strip().lower(), parameters.replace(" ", "").lower()
    charset = parameters.partition("charset=")[2].partition(";")[0].strip('"')
    encoding = request.headers.get("content-encoding", "identity").lower()
    if kind not in PLAIN_TYPES and not kind.endswith("+json"):
        _refuse_type("content-type", said, "application/json")
    if charset not in ("", "utf-8", "utf8", "us-ascii"):
        _refuse_type("content-type", said, "application/json, in UTF-8")
    if encoding != "identity":
        _refuse_type("content-encoding", encoding, "no compression")
    if BINARY in request.headers and not is_v2(request.scope["path"]):
        _refuse_type(BINARY, "binary tensors", "nothing but JSON")


def _refuse_type(header: str, found: str, allowed: str) -> None:
    detail = Detail(f"header {header}", repr(found[:80]), allowed)
    message = f"header {header}: found {found[:80]!r}; allowed is {allowed}."
    raise Problem(415, "unsupported_media_type", message, [detail], {"connection": "close"})


def _too_long(found: str, limit: int) -> Problem:
    detail = Detail("body", found, f"up to {limit:,} bytes", "send fewer rows at once")
    message = f"body: found {found}; allowed is up to {limit:,} (max_body_bytes of /v1/info)."
    return Problem(413, "too_large", message, [detail], {"connection": "close"})


async def _read_some(request: Request, limit: int, chunks: list[bytes]) -> bool:
    """All of a body, or more than `limit` bytes of it. Says whether it is all."""
    size, more = 0, True
    while more and size <= limit:
        message = await request.receive()
        if message["type"] != "http.request":
            raise ClientDisconnect
        chunks.append(message.get("body", b""))
        size, more = size + len(chunks[-1]), message.get("more_body", False)
    return size <= limit


async def _throw_away(request: Request, most: int, deadline: float) -> None:
    """Read on for a while, keeping nothing."""
    with suppress(TimeoutError):
        async with asyncio.timeout_at(deadline):
            more = True
            while most > 0 and more:
                message = await request.receive()
                most -= len(message.get("body", b"")) or 1
                more = message.get("more_body", False)
