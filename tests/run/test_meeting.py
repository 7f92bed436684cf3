"""Processes meet in a store in which others met before them, of whom not all came."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from torch.distributed import TCPStore  # type: ignore[attr-defined]
from torch.distributed.distributed_c10d import Store

from trivium.run.training.meeting import meet


@pytest.mark.parametrize("late", [0, 1, 2])
def test_processes_of_one_try_meet_and_hear_nothing_of_an_earlier_one(late: int) -> None:
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)

    def client() -> Store:
        return TCPStore("127.0.0.1", store.port, is_master=False)

    with ThreadPoolExecutor(3) as threads:
        for turn in range(3):
            # Of an earlier try, someone who was never answered, and an address.
            store.set("trivium/process/2", f"dead{turn}")
            store.set("address", f"old{turn}")

            def one(rank: int, turn: int = turn) -> tuple[str, bool]:
                if rank == late:
                    time.sleep(0.1)
                met = meet(client(), rank, 3)
                is_empty = not met.check(["address"])
                if rank == 0:
                    threading.Event().wait(0.05)
                    met.set("address", f"new{turn}")
                return met.get("address").decode(), is_empty or rank > 0

            found = list(threads.map(one, range(3)))
            assert found == [(f"new{turn}", True)] * 3
