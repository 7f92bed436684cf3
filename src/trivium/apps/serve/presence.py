"""What is waited for, as long as whoever asked is there."""

import asyncio
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

WATCHED_AFTER_S = 0.2
"""How long an answer may take before it is watched whether the client is still there."""

CLIENT = "trivium.client"
"""Of a scope, where the server itself says when a client goes: the `Client`."""

T = TypeVar("T")


class Client:
    """Whoever asks on a connection, which tells when he goes."""

    def __init__(self) -> None:
        self.is_gone = False
        self.waiting: set[asyncio.Future[Any]] = set()
        """What he waits for."""

    def goes(self) -> None:
        self.is_gone = True
        for each in self.waiting:
            each.cancel()


def leave_if_gone(request: Request) -> None:
    """Raises ClientDisconnect where it is known already that nobody waits for the answer."""
    client: Client | None = request.scope.get(CLIENT)
    if client is not None and client.is_gone:
        raise ClientDisconnect


async def waited_for(future: "asyncio.Future[T]", request: Request) -> T:
    """What a future brings; it is cancelled if the client goes away. Raises ClientDisconnect."""
    client: Client | None = request.scope.get(CLIENT)
    if client is None:
        return await _watched(future, request)
    client.waiting.add(future)
    if client.is_gone:  # before there was anything to be cancelled
        future.cancel()
    try:
        return await _heard(future)
    finally:
        client.waiting.discard(future)


async def _heard(future: "asyncio.Future[T]") -> T:
    """Raises ClientDisconnect where it was cancelled by whoever saw the client go."""
    try:
        return await future
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise ClientDisconnect from None
    finally:
        if not future.done():
            future.cancel()


async def _watched(future: "asyncio.Future[T]", request: Request) -> T:
    """As any ASGI server can tell whether the client is still there: by a task that asks."""
    watch: list[asyncio.Task[None]] = []

    def begin() -> None:
        watch.append(asyncio.ensure_future(_cancelled_when_gone(future, request)))

    # Most answers are there before; a task for each of them would cost more than it saves.
    timer = asyncio.get_running_loop().call_later(WATCHED_AFTER_S, begin)
    try:
        return await _heard(future)
    finally:
        timer.cancel()
        for task in watch:
            task.cancel()


async def _cancelled_when_gone(future: "asyncio.Future[Any]", request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    future.cancel()
