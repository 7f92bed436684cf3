"""How processes that torchrun started find each other, and nobody of an earlier try.

torchrun keeps one store for all tries of a launch, so that where processes were started again, the
addresses of those that died still stand in it (pytorch/pytorch#135712). Numbers of tries are of no
help: every host counts its own. So each process makes itself a name that nobody had before, and the
first one tells the others by theirs under which prefix they meet.
"""

import os
import time
import uuid
from datetime import timedelta

import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store

_PATIENCE = timedelta(minutes=30)
"""Between the first process here and the last: hosts load PyTorch at different speeds."""
_LOOK_EVERY_S = 0.02


def store_of_this_try() -> Store | None:
    """What the processes of this try meet in; None where torchrun keeps no store for them."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = dist.TCPStore(  # type: ignore[attr-defined]
        host, port, is_master=False, timeout=_PATIENCE
    )
    return meet(store, int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))


def meet(store: Store, rank: int, world: int) -> Store:
    """A part of the store that only these processes know.

    Raises RuntimeError where one does not come.
    """
    name = uuid.uuid4().hex
    if rank == 0:
        _answer(store, name, world)
        return PrefixStore(f"trivium/{name}", store)
    store.set(f"trivium/process/{rank}", name)
    store.wait([f"trivium/answer/{name}"], _PATIENCE)
    first = store.get(f"trivium/answer/{name}").decode()
    store.set(f"trivium/here/{first}/{rank}", "")
    return PrefixStore(f"trivium/{first}", store)


def _answer(store: Store, name: str, world: int) -> None:
    """Tell every process the first one's name, until it has heard it: whoever is found first under
    a rank may be of an earlier try."""
    told: dict[int, bytes] = {}
    missing, end = list(range(1, world)), time.monotonic() + _PATIENCE.total_seconds()
    while missing:
        for rank in missing:
            _tell(store, name, rank, told)
        missing = [rank for rank in missing if not store.check([f"trivium/here/{name}/{rank}"])]
        if missing and time.monotonic() > end:
            raise RuntimeError(f"Timed out waiting for processes {missing}")
        time.sleep(_LOOK_EVERY_S)


def _tell(store: Store, name: str, rank: int, told: dict[int, bytes]) -> None:
    """told: by rank the process that was told last."""
    if not store.check([f"trivium/process/{rank}"]):
        return
    who = store.get(f"trivium/process/{rank}")
    if told.get(rank) != who:
        store.set(f"trivium/answer/{who.decode()}", name)
        told[rank] = who
