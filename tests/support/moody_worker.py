"""A worker of a server that computes as the real one does, but for what some words do to it.

Run as a script, with the real one's arguments. Of WORDS of `tests.support.tables`:
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence

from trivium.answering.reading import Reading
from trivium.answering.says import Floats
from trivium.apps.serve import worker
from trivium.run.predictor.base import Predictor
from trivium.run.predictor.load import load

RAISES, DIES, HANGS, WAITS, PRINTS, BREAKS = "fish", "cat", "night", "sleeps", "red", "green"
"""Raises; is killed; computes for ever; for a while; prints; raises, and so does all after it."""
A_WHILE_S = 1.0

Read = Callable[[Sequence[Reading]], dict[str, Floats]]


def moody(predictor: Predictor) -> Read:
    """Its `read`, that some words change."""
    tokenizer, read = predictor.readers[0].tokenizer, predictor.read
    words = {ids[0]: w for w in WORDS for ids in tokenizer([w])}
    broken = False

    def read_moodily(readings: Sequence[Reading]) -> dict[str, Floats]:
        nonlocal broken
        said = {words[i] for r in readings for i in r.ids_N.tolist() if i in words}
        broken = broken or BREAKS in said
        if DIES in said:
            os.kill(os.getpid(), signal.SIGKILL)
        if PRINTS in said:
            print("a library that talks", flush=True)
            os.write(1, b"past Python, too\n")
        if WAITS in said or HANGS in said:
            time.sleep(600 if HANGS in said else A_WHILE_S)
        if broken or RAISES in said:
            raise ValueError("there is a fish\nand more")
        return read(readings)

    return read_moodily


WORDS = (RAISES, DIES, HANGS, WAITS, PRINTS, BREAKS)


def load_moody(run: str, **settings: str) -> Predictor:
    predictor = load(run, **settings)
    predictor.read = moody(predictor)  # type: ignore[method-assign,assignment]
    return predictor


if __name__ == "__main__":
    vars(worker)["load"] = load_moody
    worker.main(sys.argv[1:])
