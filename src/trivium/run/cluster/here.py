"""Several runs at a time on this machine: child processes, each followed by a thread."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import IO

from trivium.errors import RecipeError
from trivium.run.assembly.cores import cores
from trivium.run.cluster.asked import OnHere
from trivium.run.cluster.numbers import THREADS, TOKENIZER_THREADS, threads_here
from trivium.run.jobs.child import Job, Outcome, Stop, train_locked, train_run


class HerePool:
    """What this machine trains for one study or search; to them what a cluster is."""

    store = None
    """Nobody has to be handed a run."""

    def __init__(self, asked: OnHere) -> None:
        """Raises RecipeError."""
        for name, number in (("at_once", asked.at_once), ("cpus", asked.cpus)):
            if number is not None and number < 1:
                raise RecipeError(f"{asked}: {name} is below 1.")
        self.asked = asked
        threads = asked.cpus or min(threads_here(), max(1, cores() // asked.at_once))
        self.variables = dict.fromkeys((THREADS, TOKENIZER_THREADS), str(threads))
        self.flights: list[HereFlight] = []
        self._followers = ThreadPoolExecutor(asked.at_once, "trivium-run")

    def start(self, job: Job, *, log: IO[str] | None = None, weighs: bool = True) -> "HereFlight":  # noqa: ARG002 a cluster asks
        """Have a run trained, as soon as there is a place.

        log: the run's, where this process holds the lock on it.
        """
        flight = HereFlight(self._followers, partial(self._train, job, log))
        self.flights.append(flight)
        return flight

    def room(self) -> int:
        """How many runs compute at a time."""
        return self.asked.at_once

    def leave(self) -> None:
        """Have what is in flight saved and ended; after another Ctrl-C, ended at once."""
        for flight in self.flights:
            flight.stop()
        try:
            self._followers.shutdown()
        except KeyboardInterrupt:
            for flight in self.flights:
                flight.stop()
            raise

    def _train(self, job: Job, log: IO[str] | None, wish: Stop) -> Outcome:
        if wish.asked:
            return Outcome("stopped", "trained")
        if log is None:
            return train_run(job, wish, _unwatched, self.variables)
        return train_locked(job, log, wish, _unwatched, self.variables)


class HereFlight:
    """A run in the hands of a thread."""

    is_weighed = True
    """What it needs is nobody's question here."""

    def __init__(self, followers: ThreadPoolExecutor, train: Callable[[Stop], Outcome]) -> None:
        self._wish = Stop()
        self._outcome = followers.submit(train, self._wish)

    @property
    def asked_to_stop(self) -> int:
        return self._wish.asked

    def look(self) -> Outcome | None:
        """What became of it; None while it is on its way. Raises what went wrong here."""
        return self._outcome.result() if self._outcome.done() else None

    def stop(self) -> None:
        """Ask for an end: at first once the run is saved, then at once."""
        self._wish.asked += 1


def _unwatched(_log_start: int, _waits_for: str) -> None:
    """The run's journal is read."""
