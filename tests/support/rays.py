"""Clusters of Ray on this machine, whose machines can be killed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from trivium.run.cluster.opened import OBJECTS_BYTES, load_ray

HEAD_CPUS = 0
"""Nothing is trained beside the driver, so that what is killed is never that."""


class Machines:
    """A head, and machines with one core each."""

    def __init__(self, count: int) -> None:
        load_ray()
        from ray.cluster_utils import Cluster

        self.cluster: Any = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": HEAD_CPUS, **_SMALL},
        )
        self.nodes = [self.add() for _ in range(count)]

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def add(self) -> Any:
        return self.cluster.add_node(num_cpus=1, **_SMALL)

    def trainings(self, node: Any) -> list[psutil.Process]:
        """Child processes that train on a machine."""
        raylet = node.all_processes["raylet"][0].process.pid
        try:
            below = psutil.Process(raylet).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return [one for one in below if "trivium" in words_of(one)]

    def kill(self, node: Any, *, and_children: bool) -> None:
        """SIGKILL for a machine's Ray. and_children: and for all that it had started, as when the
        power goes; else they are left to find out."""
        raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
        below = raylet.children(recursive=True)  # parents first
        for one in [raylet, *(p for p in below if and_children or "trivium" not in words_of(p))]:
            try:
                one.kill()
            except psutil.NoSuchProcess:
                continue
        self.nodes.remove(node)
        self.cluster.remove_node(node, allow_graceful=False)


_SMALL = {
    "object_store_memory": OBJECTS_BYTES,
    "include_dashboard": False,
    "memory": 4 * 10**9,
}


@contextmanager
def machines(count: int) -> Iterator[Machines]:
    found = Machines(count)
    try:
        yield found
    finally:
        found.cluster.shutdown()


def words_of(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def folder_of(process: psutil.Process) -> Path:
    """Where a training writes."""
    words = words_of(process)
    return Path(words[words.index("--out") + 1]) if "--out" in words else Path(os.devnull)


def at_work_in(folder: Path) -> list[psutil.Process]:
    """Processes that train into a folder."""
    return [one for one in psutil.process_iter() if folder in folder_of(one).parents]
