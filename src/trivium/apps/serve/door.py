"""How uvicorn hears requests: where the queue is full, plain questions get no further than this.

On the way to its route a request costs a task, a scope and layers of middleware, which find out
nothing that would change a refusal. All that is not plain goes that way, and is answered alike
(`frame.py`); so does everything where httptools is not installed, or another server is used. Here,
too, is seen when a client goes, which costs less than to have each of those that wait watched.
"""

import asyncio
import secrets
import time
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from trivium.apps.serve.errors import Detail, Problem
from trivium.apps.serve.notes import ID, Note
from trivium.apps.serve.presence import CLIENT, Client
from trivium.apps.serve.refusing import TIMEOUT, Refusal, Refusals, refusal_of
from trivium.apps.serve.settings import MAX_HEAD_BYTES

SPECIAL = {TIMEOUT, b"expect"}
"""Headers whose requests are not plain; upgrades neither."""


class _LongHead(Exception):  # noqa: N818 an outcome, not an error
    """A request's URL and headers are longer than is taken."""


class _Answered:
    """In the place of uvicorn's record of a request that has its answer: the body that still comes
    is passed over."""

    response_complete = keep_alive = True
    message_event = asyncio.Event()


class Door(HttpToolsProtocol):
    """uvicorn's own protocol, but for what it does when a request's headers are there."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.state = self.config.app.state  # type: ignore[union-attr]
        self.asks = Client()
        """Whoever is at the other end."""
        self.is_silent = True
        """Whether nothing has come from there yet."""
        self.unended = 0
        """Bytes that came since the last that was told of by the parser, which keeps them until
        a header ends, or the trailer behind a body."""
        self.url, self.is_long = b"", False

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.asks.goes()

    def data_received(self, data: bytes) -> None:
        self.is_silent = False
        self.unended += len(data)
        super().data_received(data)
        if self.unended > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.is_long = True
            self.send_400_response("")

    def on_message_begin(self) -> None:
        self.unended = 0
        super().on_message_begin()

    def on_body(self, body: bytes) -> None:
        self.unended = 0
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """To what is no request; or is none that is taken, since its headers are too long."""
        if not self.is_long:
            super().send_400_response(msg)
            return
        self.transport.write(_written(_long(self.url.decode("latin-1")), self._dated))
        self.transport.close()

    def on_headers_complete(self) -> None:
        self.unended = 0
        if len(self.url) + sum(len(n) + len(v) for n, v in self.headers) > MAX_HEAD_BYTES:
            self.is_long = True
            raise _LongHead  # which ends the parser, and is answered above
        began = time.perf_counter()
        refusals: Refusals | None = getattr(self.state, "refusals", None)
        route = refusals.plain.get(self.url) if refusals and self._is_plain() else None
        now = self.loop.time()
        refusal = refusals.now(now, route) if refusals and route else None
        if route is None or refusal is None:
            self.scope[CLIENT] = self.asks  # type: ignore[literal-required]
            super().on_headers_complete()
            return
        given = next((value for name, value in self.headers if name == b"x-request-id"), b"")
        known = given.decode() if ID.fullmatch(given.decode("latin-1")) else secrets.token_hex(8)
        self._answer(refusal, known)
        note = Note(known, now, route, refusal.status, refusal.code)
        seconds = time.perf_counter() - began
        self.state.metrics.count(note, seconds)
        self.state.log.refused(note, seconds)

    def _is_plain(self) -> bool:
        """Whether nothing but the queue decides what a question is answered."""
        is_first = self.cycle is None or self.cycle.response_complete  # of those on this connection
        return (
            is_first
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and self.parser.should_keep_alive()
            and not self.parser.should_upgrade()
            and all(name not in SPECIAL for name, _ in self.headers)
        )

    def _answer(self, refusal: Refusal, known: str) -> None:
        told = b"x-request-id: %b\r\n" % known.encode("ascii")
        self.transport.write(_written(refusal, self._dated + told))
        self.cycle = _Answered()  # type: ignore[assignment]
        self.on_response_complete()

    @property
    def _dated(self) -> bytes:
        return b"".join(b"%b: %b\r\n" % each for each in self.server_state.default_headers)


def _written(refusal: Refusal, more: bytes) -> bytes:
    """more: headers."""
    return b"".join((_head(refusal), more, b"\r\n", refusal.body))


@lru_cache(maxsize=128)
def _head(refusal: Refusal) -> bytes:
    headers = b"".join(b"%b: %b\r\n" % each for each in refusal.headers)
    phrase = HTTPStatus(refusal.status).phrase.encode()
    return b"HTTP/1.1 %d %b\r\n" % (refusal.status, phrase) + headers


def _long(path: str) -> Refusal:
    """path: that was asked for, or its beginning."""
    allowed = f"up to {MAX_HEAD_BYTES:,} bytes in all"
    found = f"more than {MAX_HEAD_BYTES:,} bytes"
    message = f"URL and headers: found {found}; allowed are {allowed}."
    detail = Detail("headers", found, allowed)
    problem = Problem(431, "long_headers", message, [detail], {"connection": "close"})
    return refusal_of(problem, path)
