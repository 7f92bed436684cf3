"""A run on whatever machine Ray has chosen for it: the child process that a study starts here."""

import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from trivium.errors import RecipeError
from trivium.recipe import dump_recipe
from trivium.run.cluster.numbers import set_numbers
from trivium.run.cluster.remote import RemoteError, patiently
from trivium.run.cluster.store import Handing, Store
from trivium.run.folder.locks import alone
from trivium.run.jobs.child import (
    LOOK_EVERY_S,
    Job,
    Outcome,
    Stop,
    open_log,
    stop_on_signal,
    train_locked,
    train_run,
)

REMEDY = (
    "name a folder with --out that every machine of the cluster sees, or a place to hand runs over "
    "with --store"
)
PATIENCE_S = 600.0
"""For what is left of a run whose worker was lost."""


@dataclass(frozen=True, slots=True)
class Order:
    """A run to be trained somewhere. Its paths are absolute."""

    job: Job
    shared: Path
    """A folder that every machine must see."""
    is_claimed: bool
    """Whether who gives the order holds the lock on the run's log."""
    environment: dict[str, str] = field(default_factory=dict)
    store: str | None = None
    """Where the run is handed over, if its folder is not one that every machine sees."""

    @property
    def name(self) -> str:
        """Of the run, in its store."""
        return self.job.folder.relative_to(self.shared).as_posix()


def carry_out(order: Order) -> Outcome:
    """Train a run to its end in a child process, from its last checkpoint if it has begun.

    The child ends with this process, and this one with its machine's Ray, so that none trains on
    unseen. Where an earlier one is still at its end, it is waited for.
    """
    set_numbers(order.environment)
    # Ray's processes have it blocked, which the child, that saves and stops by it, would inherit.
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if order.store is None and not order.shared.is_dir():
        return Outcome("failed", "skipped", reason=unshared(order.shared))
    with stop_on_signal() as stop:
        if order.store is not None:
            return in_scratch(order, Store(order.store), stop)
        if not order.is_claimed:
            return train_run(order.job, stop, _unwatched)
        if not _is_free(order.job, stop):
            return Outcome("stopped", "resumed")
        with open_log(order.job) as log:
            return train_locked(order.job, log, stop, _unwatched)


def in_scratch(order: Order, store: Store, stop: Stop) -> Outcome:
    """Train a run where nobody else looks, and hand it over: at each checkpoint, and at the end."""
    with TemporaryDirectory(prefix="trivium-") as home:
        folder = Path(home) / order.job.folder.name
        path = Path(home) / "recipe.yaml"
        path.write_text(dump_recipe(order.job.recipe), encoding="utf-8")
        job = Job(path, order.job.recipe, folder)
        try:
            patiently(lambda: store.get(order.name, folder), lambda: stop.asked)
            job.refuse_other()
        except (RecipeError, RemoteError) as error:
            if stop.asked and isinstance(error, RemoteError):
                return Outcome("stopped", "skipped")
            reason = str(error).replace(str(folder), f"{store.url}/{order.name}")
            return Outcome("failed", "skipped", reason=reason)
        if job.is_finished:
            return Outcome("done", "skipped")
        handing = Handing(store, order.name, folder, Path(home) / "view")
        outcome = train_run(job, stop, handing.watch)
        try:
            return _handed_over(handing, job, outcome, stop)
        except (RecipeError, RemoteError) as error:
            if outcome.state != "done":
                return outcome
            reason = f"it was trained, and could not be handed over: {error}"
            return replace(outcome, state="failed", reason=reason)


def _handed_over(handing: Handing, job: Job, outcome: Outcome, stop: Stop) -> Outcome:
    """What became of a run, all of which is in its store now. Raises RecipeError and
    RemoteError."""
    store, name = handing.store, handing.name

    def hand_over() -> None:
        if outcome.state == "done":
            store.put(name, job.folder, is_finished=True)
        elif job.has_begun:
            handing.hand_over()

    said = job.log.read_text(encoding="utf-8", errors="replace")
    patiently(hand_over, lambda: stop.asked)
    patiently(lambda: store.add_log(name, said), lambda: stop.asked)
    return outcome


def unshared(folder: Path) -> str:
    """Why a run cannot be trained on this machine."""
    return f"{folder} is not there on {socket.gethostname()}; {REMEDY}"


def _is_free(job: Job, stop: Stop) -> bool:
    """Whether the run's folder is nobody's, once the child of a lost worker has saved."""
    until = time.monotonic() + PATIENCE_S
    while not stop.asked:
        with suppress(RecipeError), alone(job.folder):
            return True
        if time.monotonic() > until:
            return True  # the child will say why it is not
        time.sleep(LOOK_EVERY_S)
    return False


def _unwatched(_log_start: int, _waits_for: str) -> None:
    """Who gave the order reads the journal."""
