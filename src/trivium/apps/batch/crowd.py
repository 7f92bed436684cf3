"""Many tables answered by Ray: an actor per worker holds the model, and is given one at a time."""

import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from trivium.apps.batch.answering import Asked, Told, answer, loading
from trivium.apps.batch.done import Ledger
from trivium.apps.batch.files import Part
from trivium.apps.batch.remote import Remote
from trivium.errors import RecipeError
from trivium.run.cluster.asked import OnRay
from trivium.run.cluster.numbers import numbers_as_here, set_numbers, threads_here
from trivium.run.cluster.opened import opened, why_lost
from trivium.run.cluster.remote import RemoteError
from trivium.run.predictor.load import load
from trivium.run.screen.console import say

LIBRARIES = 500 * 2**20
"""Bytes of a worker beside its model."""
COPIES = 3
"""Of the model's files, at the most, while it is loaded."""
MOST_LOST = 3
"""Workers that a table is lost with before it is given up: it may be the table that ends them."""
LOOK_EVERY_S = 1.0


class Answerer:
    """A model in a process of its own. What is wrong is told when it is asked something."""

    def __init__(self, folder: Path, asked: Asked, numbers: dict[str, str]) -> None:
        set_numbers(numbers)
        self.asked, self.problem = asked, ""
        try:
            self.predictor = load(folder, **loading(asked.settings))
        except RecipeError as error:
            self.problem = str(error)

    def answer(self, part: Part, ledger: Ledger) -> Told:
        if self.problem:
            return Told(part, problem=self.problem)
        try:
            if problem := _unseen(part, ledger):
                return Told(part, problem=problem)
        except (RecipeError, RemoteError) as error:
            return Told(part, problem=f"{error} (on {socket.gethostname()})")
        return answer(self.predictor, self.asked, part, ledger, None)


def _unseen(part: Part, ledger: Ledger) -> str:
    """Why a table cannot be answered on this machine."""
    is_seen = isinstance(ledger.folder, Remote) or ledger.folder.is_dir()
    if part.source.is_file() and is_seen:
        return ""
    missing = part.source if is_seen else ledger.folder
    return f"{missing}: is not there on every machine of the cluster."


def answer_by_ray(
    on: OnRay,
    folder: Path,
    asked: Asked,
    parts: Sequence[Part],
    ledger: Ledger,
    *,
    console: Console,
) -> Iterator[Told]:
    """Each table as it is answered. A lost worker is replaced, and its table begun again,
    up to MOST_LOST times in all."""
    if on.store is not None:
        raise RecipeError(
            "--store: is for runs; tables and their answers need a common folder, or are URLs."
        )
    if not parts:
        return
    if isinstance(ledger.folder, Path):
        ledger.folder.mkdir(parents=True, exist_ok=True)
    with opened(on) as ray:
        crowd = _Crowd(ray, on, folder.resolve(), asked, len(parts))
        waiting, number = list(parts), 0
        while waiting or crowd.busy:
            while waiting and crowd.idle:
                crowd.give(waiting.pop(0), ledger)
            for told in crowd.take():
                number += 1
                said = told.problem or f"{told.rows:,} rows"
                say(console, f"{number}/{len(parts)} {told.part.name}: {said}")
                yield told


class _Crowd:
    """Actors, idle or at work on a table."""

    def __init__(self, ray: Any, on: OnRay, folder: Path, asked: Asked, tables: int) -> None:
        self.ray = ray
        cpus = on.cpus or threads_here()
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        memory = on.memory or LIBRARIES + COPIES * size
        gpus = _gpus(ray, on, asked)
        needs = {"CPU": cpus, "memory": memory} | ({"GPU": gpus} if gpus else {})
        count = max(1, min(tables, on.at_once or _room(ray, needs)))
        lasting = {"max_restarts": -1, "max_task_retries": MOST_LOST - 1}
        made = ray.remote(num_cpus=cpus, num_gpus=gpus, memory=memory, **lasting)(Answerer)
        numbers = numbers_as_here(cpus)
        self.idle = [made.remote(folder, asked, numbers) for _ in range(count)]
        self.busy: dict[Any, tuple[Any, Part]] = {}

    def give(self, part: Part, ledger: Ledger) -> None:
        actor = self.idle.pop()
        self.busy[actor.answer.remote(part, ledger)] = (actor, part)

    def take(self) -> Iterator[Told]:
        """What has ended."""
        ready, _ = self.ray.wait(list(self.busy), num_returns=1, timeout=LOOK_EVERY_S)
        for reference in ready:
            actor, part = self.busy.pop(reference)
            self.idle.append(actor)
            try:
                yield self.ray.get(reference)
            except self.ray.exceptions.RayError as error:
                yield Told(part, problem=f"{part.source}: {why_lost(self.ray, error)}")


def _room(ray: Any, needs: Mapping[str, float]) -> int:
    """How many workers there is room for. Raises RecipeError where there is none."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    room = sum(int(min(node.get(name, 0) / size for name, size in needs.items())) for node in nodes)
    if room == 0:
        asked = ", ".join(f"{size:,.10g} {name}" for name, size in needs.items())
        raise RecipeError(
            f"--on ray: a worker asks for {asked}, which no machine of the cluster has. Ask for "
            "less with --cpus, --memory or --gpus."
        )
    return room


def _gpus(ray: Any, on: OnRay, asked: Asked) -> float:
    """Of each worker."""
    device = asked.settings.get("device", "auto")
    if device == "cpu":
        return 0.0
    if on.gpus is not None:
        return on.gpus
    return 1.0 if device != "auto" or ray.cluster_resources().get("GPU", 0) > 0 else 0.0
