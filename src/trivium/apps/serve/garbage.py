"""How often the front looks for objects that hold one another.

A request is let go of as soon as it is answered; what holds itself is rare (`tests/serve/
test_garbage.py`). Python, however, looks through all that lives each time it grew by a quarter, and
where hundreds of requests wait, that was a tenth of what a busy core did.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

THRESHOLD = 10_000
"""New objects more than were let go of, before the young ones are looked at: some hundred waiting
requests."""
ROUNDS = 10, 20
"""After how many times the older, and then all are looked at."""


@contextmanager
def looked_for_rarely() -> Iterator[None]:
    """In here; and never among what was there before."""
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    gc.collect()
    gc.freeze()
    gc.set_threshold(THRESHOLD, *ROUNDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        if not frozen:
            gc.unfreeze()
