"""Fixed sequences of operations, each a CUDA graph from when it has come again.

They work on tensors that keep their place in memory, and no number that the processor knows decides
what they do: so a graph, which is launched as a whole, does the same with other numbers. To record
one takes as long as a run or two of it; what comes once is not recorded.
"""

import gc
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, Protocol, TypeVar

import torch

from trivium.errors import first_line

MOST = 128
"""Graphs that are kept at a time."""
RUNS = 1
"""Of a sequence, before it is recorded: libraries choose their kernels, and load them."""

Body = Callable[[], None]
Record = Callable[[Body], Body]
"""From a sequence to one that does the same, and is launched as a whole. RuntimeError where that
cannot be."""


class Work(Protocol):
    """A fixed sequence of operations, and the memory that it works on."""

    def run(self) -> None: ...


Key = TypeVar("Key", bound=Hashable)
AnyWork = TypeVar("AnyWork", bound=Work)


class Recorder:
    """Records as long as that works."""

    def __init__(self, record: Record | None) -> None:
        """record: None where nothing is recorded."""
        self._record = record
        self.failure = ""
        """Why something could not be recorded, in words; nothing is from then on."""

    def __call__(self, body: Body) -> Body | None:
        if self._record is None or self.failure:
            return None
        try:
            return self._record(body)
        except RuntimeError as error:
            self.failure = first_line(error)
            return None


class Replays(Generic[Key, AnyWork]):
    """The latest used works, by what they are for."""

    def __init__(
        self, make: Callable[[Key], AnyWork], recorder: Recorder, most: int = MOST
    ) -> None:
        self._make, self._recorder, self._most = make, recorder, most
        self._kept: dict[Key, _Kept[AnyWork]] = {}

    def __getitem__(self, key: Key) -> AnyWork:
        """The work for that, perhaps a new one; it is now the latest used."""
        one = self._kept.pop(key, None)
        if one is None:
            one = _Kept(self._make(key))
            while len(self._kept) >= self._most:
                del self._kept[next(iter(self._kept))]
        self._kept[key] = one
        return one.work

    def run(self, key: Key) -> None:
        """The work for that is done: as it is, or as a graph."""
        work, one = self[key], self._kept[key]
        if one.graph is None and one.runs >= RUNS:
            one.graph = self._recorder(work.run)
        (one.graph or work.run)()
        one.runs += 1

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def recorded(self) -> int:
        """How many are graphs by now."""
        return sum(one.graph is not None for one in self._kept.values())

    def forget(self, key: Key | None = None) -> None:
        """One of them, or all."""
        if key is None:
            self._kept.clear()
        else:
            self._kept.pop(key, None)


@dataclass
class _Kept(Generic[AnyWork]):
    work: AnyWork
    runs: int = 0
    graph: Body | None = None


class Capture:
    """Records CUDA graphs, which share their memory: they are to be launched one after another.

    Nothing is computed meanwhile, and so no random number drawn: the graph draws what a run as it
    is would draw in its place.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = side_stream(device)
        self._pool: Any = None

    def __call__(self, body: Body) -> Body:
        graph = torch.cuda.CUDAGraph()
        try:
            self._record(graph, body)
        except RuntimeError:
            _broken_off.append(graph)
            self._take_back()
            raise
        self._pool = graph.pool()
        return graph.replay

    def _record(self, graph: torch.cuda.CUDAGraph, body: Body, *, shares: bool = True) -> None:
        pool = self._pool if shares else None
        # Outside, what puts the stream back where recording breaks off: `graph` then does not.
        outside = torch.cuda.stream(torch.cuda.current_stream(self._stream.device))
        with outside, uncollected(), torch.cuda.graph(graph, pool=pool, stream=self._stream):
            body()

    def _take_back(self) -> None:
        """After one that broke off: PyTorch's generator takes itself for being recorded until a
        recording comes to its end. So one does."""
        with suppress(RuntimeError):
            graph = torch.cuda.CUDAGraph()
            self._record(graph, self._little, shares=False)

    def _little(self) -> None:
        torch.zeros(1, device=self._stream.device)


_broken_off: list[torch.cuda.CUDAGraph] = []
"""PyTorch's memory goes on asking whether they are being recorded: so they are not to vanish."""


@cache  # libraries keep memory for each stream that they have seen
def side_stream(device: torch.device) -> torch.cuda.Stream:
    """For what is recorded on that device, or prepares a recording: always the same one."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


@contextmanager
def uncollected() -> Iterator[None]:
    """Inside, nothing is collected: what frees a GPU's memory would break a recording off."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
