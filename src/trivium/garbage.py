"""When Python looks for garbage: not while modules and models are loaded, which is none.

Loading makes a million objects that stay. To go through them again and again, as many are made,
takes an eighth of loading PyTorch.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

MANY = 50_000
"""New objects that are worth keeping from being looked through: some milliseconds."""


@contextmanager
def without_collection() -> Iterator[None]:
    """Nothing is looked through within; of what is made there, if that is much, nothing before the
    next full collection."""
    if not gc.isenabled():  # by whoever calls, or already by us
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        # In this order: what is frozen is counted one by one, a million in some hundredths of a
        # second.
        if gc.get_count()[0] > MANY and gc.get_freeze_count() == 0:
            # To the oldest generation, as if it had been looked through; what is garbage after all
            # goes with a full collection. What others had frozen would be thawed by it.
            gc.freeze()
            gc.unfreeze()
        gc.enable()
