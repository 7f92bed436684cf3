"""Runs that another machine has trained, on their way to where they belong here.

Who waits for one follows others meanwhile, and hears Ctrl-C: so nothing here waits, and each look
is one try.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import IO

from trivium.errors import RecipeError
from trivium.run.cluster.remote import AGAIN_AFTER_S, PATIENCE_S, RemoteError
from trivium.run.cluster.store import Store
from trivium.run.folder.atomic import where_it_leads
from trivium.run.folder.locks import alone, lock
from trivium.run.jobs.child import Job, Outcome, open_log

UNSEEN_S = 60.0
"""How long a network file system may take to show here what another machine wrote."""


@dataclass(slots=True)
class Seen:
    """A run in a folder that all machines see."""

    job: Job
    outcome: Outcome
    """What was told by the machine that trained."""
    unseen: str
    """Why it failed, if its folder is not seen here."""
    _began: float = field(default_factory=time.monotonic)

    def look(self, asked_to_stop: int) -> Outcome | None:
        """What became of it; None while that is to be seen."""
        if self.outcome.state != "done" or self.job.is_finished:
            return self.outcome
        if asked_to_stop:
            return replace(self.outcome, state="stopped")
        if time.monotonic() > self._began + UNSEEN_S:
            return replace(self.outcome, state="failed", reason=self.unseen)
        return None


@dataclass(slots=True)
class Fetched:
    """A run that was handed over, fetched to where it would have been trained without a cluster.

    Its folder and log are nobody else's meanwhile: where another process trains it here, the end
    of that is waited for, and what that one finished stays.
    """

    store: Store
    name: str
    """In the store."""
    job: Job
    outcome: Outcome
    """What was told by the machine that trained."""
    is_claimed: bool
    """Whether this process holds the lock on the run's log."""
    tell: Callable[[str], None]
    """Called once, where it takes longer."""
    _until: float = field(default_factory=lambda: time.monotonic() + PATIENCE_S)
    _next: float = 0.0
    _is_told: bool = False

    def look(self, asked_to_stop: int) -> Outcome | None:
        """What became of it; None while it is tried again now and then. Who asks for an end waits
        for one more try, and for none who asks twice. Raises NotWrittenError where there is no
        room here."""
        now = time.monotonic()
        if asked_to_stop > 1:
            return self._left()
        if now < self._next and not asked_to_stop:
            return None
        try:
            with self._alone() as log:
                if log is not None:
                    return self._fetch(log)
                self._until = now + PATIENCE_S
                waits = "another process trains this run here; waiting for its end"
        except RemoteError as error:
            if now > self._until and not asked_to_stop:
                return self._failed(f"cannot be fetched: {error}")
            waits = f"cannot be fetched yet, and is tried again: {error}"
        except RecipeError as error:  # what is there was altered; others may be whole
            return self._failed(str(error))
        if asked_to_stop:
            return self._left()
        self._next = now + AGAIN_AFTER_S
        if not self._is_told:
            self._is_told = True
            self.tell(waits)
        return None

    @contextmanager
    def _alone(self) -> Iterator[IO[str] | None]:
        """The run's log, while nobody else trains the run here; None where somebody does."""
        where_it_leads(self.job.folder)  # what `alone` says of a link is not that it is taken
        with ExitStack() as held:
            log = held.enter_context(open_log(self.job))
            is_ours = self.is_claimed or lock(log)
            if is_ours:
                try:
                    held.enter_context(alone(self.job.folder))
                except RecipeError:
                    is_ours = False
            yield log if is_ours else None

    def _fetch(self, log: IO[str]) -> Outcome:
        """Raises RecipeError and RemoteError."""
        if self.job.is_finished:  # by another process, meanwhile
            self.job.refuse_other()
            return Outcome("done", "skipped")
        log.write(unsaid(self.store.log(self.name), self.job.log.read_text("utf-8", "replace")))
        if self.outcome.state != "done":
            return self.outcome
        if not self.store.get(self.name, self.job.folder):
            raise RemoteError(f"{self.store.url}/{self.name}: is not there")
        if not self.job.is_finished:
            return self._failed(f"{self.store.url}/{self.name}: holds no finished run")
        return self.outcome

    def _failed(self, reason: str) -> Outcome:
        """Of a run that failed by itself, why it did stays first."""
        if self.outcome.state == "failed":
            return replace(self.outcome, reason=f"{self.outcome.reason}; its log {reason}")
        return replace(self.outcome, state="failed", reason=reason)

    def _left(self) -> Outcome:
        """Where somebody has enough: the same command fetches it."""
        is_done = self.outcome.state == "done"
        return replace(self.outcome, state="stopped") if is_done else self.outcome


def unsaid(said: str, log: str) -> str:
    """What a store's log says of starts of the run that are not in the log here."""
    starts = re.split(r"^(?=\n\$ )", said, flags=re.MULTILINE)
    return "".join(start for start in starts if start not in log)
