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
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from trivium.apps.serve.notes import ID, Note
from trivium.apps.serve.presence import CLIENT, Client
from trivium.apps.serve.refusing import TIMEOUT, Refusal, Refusals

SPECIAL = {TIMEOUT, b"expect"}
"""Headers whose requests are not plain; upgrades neither."""


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

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.asks.goes()

    def on_headers_complete(self) -> None:
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
        dated = b"".join(b"%b: %b\r\n" % each for each in self.server_state.default_headers)
        told = b"x-request-id: %b\r\n\r\n" % known.encode("ascii")
        self.transport.write(b"".join((_head(refusal), dated, told, refusal.body)))
        self.cycle = _Answered()  # type: ignore[assignment]
        self.on_response_complete()


@lru_cache(maxsize=128)
def _head(refusal: Refusal) -> bytes:
    headers = b"".join(b"%b: %b\r\n" % each for each in refusal.headers)
    return b"HTTP/1.1 %d Too Many Requests\r\n" % refusal.status + headers
