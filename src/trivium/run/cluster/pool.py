"""Runs as Ray's tasks: sent off with what they need, looked after, told to stop."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from rich.console import Console

from trivium.run.cluster.arrival import Fetched, Seen
from trivium.run.cluster.asked import OnHere, OnRay
from trivium.run.cluster.here import HereFlight, HerePool
from trivium.run.cluster.needs import LEAST, Needs, gpus_of, memory_of, most_alike
from trivium.run.cluster.numbers import numbers_as_here, threads_here
from trivium.run.cluster.opened import address_of, opened, why_lost
from trivium.run.cluster.store import Store
from trivium.run.cluster.task import REMEDY, Order, carry_out
from trivium.run.jobs.child import Job, Outcome
from trivium.run.screen.console import heard_on, note

RETRIES = 20
"""Of a run whose worker or machine was lost. What the run itself fails at is not tried again."""
LOOK_EVERY_S = 0.1


@contextmanager
def pool_of(asked: OnRay | OnHere, shared: Path, console: Console | None) -> Iterator["AnyPool"]:
    """Of this machine, or connected to a cluster, while the block lasts. Raises RecipeError where
    there is no Ray.

    shared: the folder that all machines see.
    """
    if isinstance(asked, OnHere):
        here = HerePool(asked)
        try:
            yield here
        finally:
            here.leave()
        return
    with opened(asked) as ray:
        is_local = address_of(asked) is None
        pool = Pool(ray, asked, shared.resolve(), heard_on(console), is_local=is_local)
        try:
            yield pool
        finally:
            pool.leave()


class Pool:
    """What a cluster trains for one study or search."""

    def __init__(
        self, ray: Any, asked: OnRay, shared: Path, console: Console, *, is_local: bool
    ) -> None:
        self.ray, self.asked, self.shared, self.console = ray, asked, shared, console
        self.is_local = is_local
        self.cpus = asked.cpus or threads_here()
        self.has_gpus = ray.cluster_resources().get("GPU", 0) > 0
        self.store = None if asked.store is None else Store(asked.store)
        if self.store is not None:
            self.store.refuse_unwritable()
        self.flights: list[Flight] = []
        self._weighed: dict[str, Any] = {}
        """References to bytes, by what they depend on."""
        self._told: set[Needs] = set()
        lasting = {"max_retries": RETRIES, "retry_exceptions": False}
        self._train = ray.remote(**lasting)(carry_out)
        # Its process ends with it, and with it all that the model and its rows took.
        self._weigh = ray.remote(max_calls=1, num_cpus=1, memory=LEAST, **lasting)(memory_of)

    def start(self, job: Job, *, log: IO[str] | None = None, weighs: bool = True) -> "Flight":
        """Have a run trained, as soon as there is a place. Raises RecipeError.

        log: the run's, where this process holds the lock on it. weighs: whether it needs more
        memory than libraries take.
        """
        gpus = gpus_of(job.recipe, self.asked, self.has_gpus)
        numbers = numbers_as_here(self.cpus)
        order = Order(job.placed(), self.shared, log is not None, numbers, self.asked.store)
        flight = Flight(self, job, order, gpus, self._bytes(job, weighs=weighs))
        self.flights.append(flight)
        return flight

    def room(self) -> int:
        """How many runs like those in flight may compute at once, at least 1."""
        if self.asked.at_once is not None:
            return self.asked.at_once
        needs = next((flight.needs for flight in self.flights if flight.needs is not None), None)
        cpus, gpus = (needs.cpus, needs.gpus) if needs else (self.cpus, 0.0)
        count = 0
        for node in self.nodes():
            ways = [node.get("CPU", 0) / cpus]
            ways += [node.get("GPU", 0) / gpus] if gpus else []
            ways += [node.get("memory", 0) / needs.memory] if needs else []
            count += int(min(ways))
        return max(1, count)

    def nodes(self) -> list[dict[str, float]]:
        """All that each machine has, whether it is in use or not."""
        return [node["Resources"] for node in self.ray.nodes() if node["Alive"]]

    def send(self, flight: "Flight", needs: Needs) -> Any:
        needs = self._fitted(needs)
        flight.needs = needs
        how = {"num_cpus": needs.cpus, "memory": needs.memory, "num_gpus": needs.gpus}
        return self._train.options(**how, name=f"trivium {flight.job.folder.name}").remote(
            flight.order
        )

    def leave(self) -> None:
        """Cancel what is still in flight."""
        for flight in self.flights:
            flight.stop()

    def _bytes(self, job: Job, *, weighs: bool) -> Any:
        """What the run will hold, or a reference to it."""
        if self.asked.memory is not None or not weighs:
            return self.asked.memory or LEAST
        values = job.recipe.model_dump(mode="json", exclude={"seed"})
        key = json.dumps(values, sort_keys=True)
        if key not in self._weighed:
            self._weighed[key] = self._weigh.remote(job.recipe)
        return self._weighed[key]

    def _fitted(self, needs: Needs) -> Needs:
        """What can be asked for; told where no machine has it."""
        nodes = self.nodes()
        if not nodes or any(map(needs.fits, nodes)):
            return needs
        largest = most_alike(nodes)
        had = Needs(int(largest.get("CPU", 0)), int(largest.get("memory", 0)), needs.gpus)
        if self.is_local and needs.gpus <= largest.get("GPU", 0):
            # Without Ray it would be tried, too.
            self._tell(needs, f"a run asks for {needs}; this machine has {had}, and gives that")
            return replace(had, cpus=max(1, min(needs.cpus, had.cpus)))
        self._tell(
            needs,
            f"a run asks for {needs}, which no machine of the cluster has (the largest: {had}); it "
            "waits for one. Ask for less with --cpus, --memory or --gpus.",
        )
        return needs

    def _tell(self, needs: Needs, line: str) -> None:
        if needs not in self._told:
            self._told.add(needs)
            note(self.console, line)


@dataclass(eq=False, slots=True)
class Flight:
    """A run in the hands of Ray."""

    pool: Pool
    job: Job
    order: Order
    gpus: float
    weight: Any
    """Bytes, or a reference to them."""
    needs: Needs | None = None
    asked_to_stop: int = 0
    _training: Any = None
    _arrival: Fetched | Seen | None = None
    """Once it was trained."""
    _ended: Outcome | None = None
    _began: float = field(default_factory=time.monotonic)

    @property
    def is_weighed(self) -> bool:
        """Whether it is known what it needs."""
        return self.needs is not None

    def look(self) -> Outcome | None:
        """What became of it; None while it is on its way."""
        if self._ended is None:
            self._ended = self._looked()
            if self._ended is not None and self in self.pool.flights:
                self.pool.flights.remove(self)
        return self._ended

    def stop(self) -> None:
        """Ask for an end: at first once the run is saved, then at once."""
        self.asked_to_stop += 1
        if self._training is not None and self._ended is None:
            self.pool.ray.cancel(self._training, force=self.asked_to_stop > 1)

    def _looked(self) -> Outcome | None:
        if self._training is None:
            if self.asked_to_stop:
                return Outcome("stopped", "trained")
            if (size := self._size()) is not None:
                self._training = self.pool.send(self, Needs(self.pool.cpus, size, self.gpus))
            return None
        if self._arrival is None:
            if not self._is_ready(self._training):
                return None
            outcome = self._told()
            if outcome.state == "stopped":
                if self.asked_to_stop:
                    return outcome
                self._training = None  # its machine was asked to end: another takes it up
                return None
            self._arrival = self._arriving(outcome)
        return self._arrival.look(self.asked_to_stop)

    def _size(self) -> int | None:
        """Bytes; None while they are being found."""
        if isinstance(self.weight, int):
            return self.weight
        if not self._is_ready(self.weight):
            return None
        try:
            return int(self.pool.ray.get(self.weight))
        except self.pool.ray.exceptions.RayError:
            return LEAST  # the run itself will tell what is wrong

    def _is_ready(self, reference: Any) -> bool:
        return bool(self.pool.ray.wait([reference], timeout=0)[0])

    def _told(self) -> Outcome:
        """What the machine that trained tells, or Ray of it."""
        ray, seconds = self.pool.ray, time.monotonic() - self._began
        try:
            outcome: Outcome = ray.get(self._training)
        except ray.exceptions.RayError as error:
            if self.asked_to_stop:
                return Outcome("stopped", "trained", seconds)
            return Outcome("failed", "trained", seconds, why_lost(ray, error))
        return outcome

    def _arriving(self, outcome: Outcome) -> Fetched | Seen:
        if self.pool.store is None:
            there = f"{self.order.shared} is another folder on the machine that trained; {REMEDY}"
            return Seen(self.job, outcome, there)
        return Fetched(
            self.pool.store, self.order.name, self.job, outcome, self.order.is_claimed, self._tell
        )

    def _tell(self, line: str) -> None:
        note(self.pool.console, f"{self.order.name}: {line}")


AnyPool = Pool | HerePool
AnyFlight = Flight | HereFlight
