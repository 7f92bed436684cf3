"""While questions are refused, the front listens to its sockets in turns, not at every sound.

Whoever is woken for a single question finds the processor's caches filled by the process that
computes, and leaves them filled with other things than that needs: that costs several times what
the refusal itself does. So the front rests until some have come. Nobody loses by it: those that
were taken wait far longer, the processes that compute have their next batch, and an answer of
theirs ends the rest.
"""

import asyncio
import select
import sys
from collections.abc import Callable, Sequence

EVERY_S = 0.01
"""From one turn to the next."""
KEPT_S = 0.25
"""After the last refusal. Room comes and goes with each batch."""
STEPS = 3
"""Rounds of the event loop in a turn: to read what came, to answer it, to write the answers."""


class Pace:
    """Turns, as long as questions are refused."""

    def __init__(self, rest: Callable[[float], bool]) -> None:
        """rest: holds the event loop up for so many seconds at most; says whether it did."""
        self._rest, self._loop = rest, asyncio.get_running_loop()
        self._until = self._began = 0.0
        self._is_kept = False

    def keep(self, now: float) -> None:
        """A question is refused. now: of `loop.time()`."""
        self._until = now + KEPT_S
        if not self._is_kept:
            self._is_kept, self._began = True, now
            self._loop.call_soon(self._step, STEPS)

    def _step(self, left: int) -> None:
        if left:
            self._loop.call_soon(self._step, left - 1)
        elif self._loop.time() < self._until:
            self._next()
        else:
            self._is_kept = False

    def _next(self) -> None:
        left_s = self._began + EVERY_S - self._loop.time()
        if left_s > 0 and not self._rest(left_s):
            self._loop.call_later(left_s, self._begin)
            return
        self._begin()

    def _begin(self) -> None:
        self._began = self._loop.time()
        self._loop.call_soon(self._step, STEPS)


def until_heard(pipes: Sequence[int], seconds: float) -> bool:
    """Wait until one of the pipes, by their numbers, can be read, at most so long. False, at once,
    on systems that do not wait for pipes."""
    if sys.platform == "win32":
        return False
    poll = select.poll()
    for pipe in pipes:
        poll.register(pipe, select.POLLIN)
    poll.poll(1000 * seconds)
    return True
