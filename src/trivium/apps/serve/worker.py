"""A process that computes: frames in at stdin, frames out at stdout.

    python -m trivium.apps.serve.worker RUN PRECISION DEVICE BACKEND

It ends with its stdin: when the front closes it, or is gone.
"""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from queue import SimpleQueue
from typing import IO

from trivium.apps.serve.wire import (
    PREFIX,
    Answer,
    Ask,
    Failure,
    Hello,
    Malformed,
    Message,
    Refusal,
    decode,
    encode,
    sizes,
)
from trivium.errors import RecipeError
from trivium.run.folder.sealed import seal_of
from trivium.run.predictor.base import Predictor, finite
from trivium.run.predictor.load import backend_of, load

BEHIND_THE_FRONT = 5
"""What is added to a worker's niceness."""
LONGEST_REASON = 300
"""Characters."""


class Pipes:
    """Frames from and to the front. Nobody else in this process reads or writes there."""

    def __init__(self) -> None:
        self._in: IO[bytes] = os.fdopen(os.dup(0), "rb", buffering=0)
        self._out: IO[bytes] = os.fdopen(os.dup(1), "wb")
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)  # what a library prints is no frame

    def send(self, message: Message) -> None:
        self._out.write(encode(message))
        self._out.flush()

    def receive(self) -> Message | None:
        """None when the front is gone."""
        prefix = self._read(PREFIX.size)
        if prefix is None:
            return None
        header, body = sizes(prefix)
        first, second = self._read(header), self._read(body)
        return None if first is None or second is None else decode(first, second)

    def _read(self, count: int) -> bytearray | None:
        buffer = bytearray(count)  # which arrays may be views of, and be written to
        view, at = memoryview(buffer), 0
        while at < count:
            got = self._in.readinto(view[at:])  # type: ignore[attr-defined]  # unbuffered
            if not got:
                return None
            at += got
        return buffer


def main(arguments: list[str]) -> None:
    """Load, say what was loaded, and answer."""
    for name in (signal.SIGINT, signal.SIGTERM):  # which whole groups get; the front decides
        signal.signal(name, signal.SIG_IGN)
    pipes, asks = Pipes(), SimpleQueue[Ask]()
    threading.Thread(target=listen, args=(pipes, asks), daemon=True).start()
    run, precision, device, backend = arguments
    try:
        predictor = load(run, precision=precision, device=device, backend=backend)
        described = predictor.described(backend_of(Path(run), backend))
        described = described.model_copy(update={"sha256": seal_of(Path(run))})
    except Exception as error:
        pipes.send(Refusal(why=str(error) if isinstance(error, RecipeError) else reason(error)))
        os._exit(1)
    one_thread()
    give_way()
    pipes.send(Hello(described=described))
    while True:
        pipes.send(answer(predictor, asks.get()))


def listen(pipes: Pipes, asks: "SimpleQueue[Ask]") -> None:
    """Hand on what the front asks. When it is gone, end at once, whatever is being computed."""
    try:
        while isinstance(message := pipes.receive(), Ask):
            asks.put(message)
    except Malformed as error:
        print(f"trivium: a worker ends: {error}", file=sys.stderr, flush=True)
    os._exit(0)


def answer(predictor: Predictor, ask: Ask) -> Answer | Failure:
    """What is said of a batch, or why computing it raised."""
    started = time.perf_counter()
    try:
        readouts = dict(finite(predictor.read(ask.readings)))
    except Exception as error:
        return Failure(number=ask.number, why=reason(error))
    return Answer(ask.number, time.perf_counter() - started, readouts)


def reason(error: Exception) -> str:
    """An exception in a line."""
    said = f"{type(error).__name__}: {error}".splitlines()[0][:LONGEST_REASON]
    return said.encode(errors="replace").decode()


def give_way() -> None:
    """To the front, where cores are short: else who comes when all are busy is not even refused."""
    if hasattr(os, "nice"):
        os.nice(BEHIND_THE_FRONT)


def one_thread() -> None:
    """There is a process for each core. The environment says it, too; some builds do not listen."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


if __name__ == "__main__":
    main(sys.argv[1:])
