"""When Python looks for garbage: not while modules and models are loaded, which is none.

Loading makes a million objects that stay. To go through them again and again, as many are made,
takes an eighth of loading PyTorch.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collection() -> Iterator[None]:
    """Nothing that is made within is looked through before the next full collection."""
    if not gc.isenabled():  # by whoever calls, or already by us
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if gc.get_freeze_count() == 0:
            # To the oldest generation, as if it had been looked through; what is garbage after all
            # goes with a full collection. What others had frozen would be thawed by it.
            gc.freeze()
            gc.unfreeze()
        gc.enable()
