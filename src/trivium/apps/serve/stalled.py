"""Connections on which nothing moves: uvicorn would keep most of them for ever."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from trivium.apps.serve.settings import HEADERS_S, KEEP_ALIVE_S, READ_AT_END_S, READ_S

SILENT, HEAD, ANSWER = "silent", "head", "answer"
"""What is waited for: a first byte, the end of a request's headers, that an answer is read."""


async def close_the_stalled(connections: Iterable[Any], is_ending: Callable[[], bool]) -> None:
    """Close them, until it is cancelled.

    connections: of uvicorn's, as they are at any time; is_ending: whether the server is, which then
    waits for nobody else.
    """
    loop = asyncio.get_running_loop()
    since: dict[tuple[Any, str, int], float] = {}
    while True:
        await asyncio.sleep(HEADERS_S / 4)
        limits = {SILENT: KEEP_ALIVE_S, HEAD: HEADERS_S, ANSWER: READ_S}
        if is_ending():
            limits[ANSWER] = READ_AT_END_S
        now, waiting = loop.time(), [(each, *waits_for(each)) for each in connections]
        since = {each: since.get(each, now) for each in waiting if each[1]}
        for (connection, what, _), began in since.items():
            if now - began < limits[what]:
                continue
            if what == ANSWER:  # to be closed it would have to be read first
                connection.transport.abort()
            else:
                connection.transport.close()


def waits_for(connection: Any) -> tuple[str, int]:
    """What is waited for, "" where it is nothing that has a limit here; and how many bytes of an
    answer are left, so that whoever reads slowly is not taken for one who does not read."""
    if left := connection.transport.get_write_buffer_size():
        return ANSWER, left
    if connection.timeout_keep_alive_task is not None:  # a limit of uvicorn's
        return "", 0
    if connection.cycle is not None and not connection.cycle.response_complete:
        return "", 0
    return SILENT if getattr(connection, "is_silent", False) else HEAD, 0
