"""The gradients of weights beside the way back, in a graph that is being recorded.

Nothing on the way back waits for them, and products of a small batch leave much of a GPU idle. So
they are recorded on a second stream, and the graph runs them at the same time. Not outside a graph:
there launching is what takes the time, and two streams are more of it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor


class Aside:
    """Of one layer's way back."""

    def __init__(self, device: torch.device, *, wanted: bool) -> None:
        own = wanted and device.type == "cuda" and torch.cuda.is_current_stream_capturing()
        self._stream = _second(device) if own else None
        self._read: list[Tensor] = []

    @contextmanager
    def work(self, *read: Tensor) -> Iterator[None]:
        """Inside, what is told to the GPU is done aside. read: nobody may write there any more."""
        if self._stream is None:
            yield
            return
        # Held until all is joined: what is given back before could be written on by others.
        self._read += read
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            yield

    def join(self) -> None:
        """What follows comes after all of it."""
        if self._stream is not None and self._read:
            torch.cuda.current_stream().wait_stream(self._stream)
        self._read.clear()


@cache
def _second(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
