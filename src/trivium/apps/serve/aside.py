"""What is large is worked on in a thread, where what is small does not wait for it.

Whoever waits there is bound as in the queue: by his deadline, by how much may wait, and by whether
he is still there. What he gave up before it was begun is passed over.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from starlette.requests import Request

from trivium.apps.serve.asks import Full, TooLate
from trivium.apps.serve.presence import waited_for
from trivium.apps.serve.speed import Speed

T = TypeVar("T")


class Aside:
    """One thread is enough: it only keeps what is large from holding up what is small.

    most: bytes that may wait, or be worked on, before another body is refused.
    """

    def __init__(self, most: int) -> None:
        self._most, self._waiting, self._speed = most, 0, Speed()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="trivium-large-bodies")

    def refuse_if_full(self, size: int, longest_s: float) -> None:
        """Raises Full where so many bytes more cannot wait, or would for longer than `longest_s`,
        at the measured speed. What finds nobody there is taken, however large it is."""
        speed = self._speed.tokens_per_s
        wait_s = self._waiting / speed if speed else 0.0
        if self._waiting and (self._waiting + size > self._most or wait_s > longest_s):
            raise Full(wait_s or 1.0)

    async def worked_out(
        self, work: Callable[[], T], size: int, deadline: float, request: Request
    ) -> T:
        """What the work gives. size: of what is worked on, in bytes; deadline: of `loop.time()`.

        Raises TooLate, and ClientDisconnect if the client goes away.
        """
        loop = asyncio.get_running_loop()
        self._waiting += size
        try:
            async with asyncio.timeout_at(deadline):
                future = loop.run_in_executor(self._thread, _timed, work)
                found, seconds = await waited_for(future, request)
        except TimeoutError:
            raise TooLate("the deadline passed before the body was worked on") from None
        finally:
            self._waiting -= size
        self._speed.add(size, seconds)
        return found

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    began = time.perf_counter()
    return work(), time.perf_counter() - began
