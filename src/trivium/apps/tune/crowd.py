"""A search of several trials at a time: as many as there is room for."""

import time
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from trivium.apps.tune.board import Board
from trivium.apps.tune.claims import Claim
from trivium.apps.tune.rows import Overview
from trivium.apps.tune.trial import Following, refuse, settle
from trivium.apps.tune.worker import REFRESH_EVERY_S, Worker
from trivium.run.cluster.pool import LOOK_EVERY_S, AnyFlight, AnyPool
from trivium.run.jobs.child import Outcome, Stop
from trivium.run.jobs.follow import Progress
from trivium.run.screen.live import clock

SHOWN_TRIALS = 6
"""In flight, on a terminal."""


def work_crowd(worker: Worker, pool: AnyPool, stop: Stop, console: Console) -> str:
    """Trials, until there is none left; why it gave up, if it did."""
    with CrowdBoard(console, worker.view()) as board:
        crowd = _Crowd(worker, pool, board, stop)
        while crowd.fill() or crowd.flying:
            crowd.look()
            time.sleep(LOOK_EVERY_S)
    return crowd.gave_up


@dataclass(slots=True)
class _Flying:
    """A trial that is being trained."""

    following: Following
    flight: AnyFlight

    def pass_on(self) -> None:
        """What the child is asked."""
        while self.flight.asked_to_stop < self.following.child.asked:
            self.flight.stop()


class _Crowd:
    """A worker that carries out several trials at once."""

    def __init__(self, worker: Worker, pool: AnyPool, board: "CrowdBoard", stop: Stop) -> None:
        self.worker, self.pool, self.board, self.stop = worker, pool, board, stop
        self.flying: list[_Flying] = []
        self.gave_up = ""
        self._failures = 0
        self._is_told = False
        self._refreshed = 0.0
        limit_min = worker.search.timeout
        self._until = time.monotonic() + 60 * limit_min if limit_min else float("inf")

    def fill(self) -> bool:
        """Begin trials as long as there is room; whether one was begun."""
        begun = False
        while self._may_begin() and (claim := self.worker.claims.next()) is not None:
            self._begin(claim)
            begun = True
        return begun

    def look(self) -> None:
        """See how far trials are, and what has ended."""
        if self.stop.asked and not self._is_told:
            self._is_told = True
            self.board.stopping()
        now = time.monotonic()
        if now - self._refreshed > REFRESH_EVERY_S:
            self._refreshed = now
            self.board.view = self.worker.view()
        for one in list(self.flying):
            one.following.watch(0, "")
            one.pass_on()
            if (outcome := one.flight.look()) is not None:
                self.flying.remove(one)
                one.following.watch(0, "")  # what it said last
                self._end(one.following.claim, one.following, outcome)

    def _may_begin(self) -> bool:
        if self.stop.asked or self.gave_up or time.monotonic() > self._until:
            return False
        # Nobody knows yet how many fit: so the first goes ahead.
        is_known = all(one.flight.is_weighed for one in self.flying)
        return len(self.flying) < (self.pool.room() if is_known else 1)

    def _begin(self, claim: Claim) -> None:
        stages = [stage.name for stage in claim.job.recipe.stages]
        progress = Progress(claim.job.folder, stages)
        self.board.begin(claim, progress, self.worker.view())
        following = Following(
            claim, self.worker.objectives, self.stop, progress, lambda _start: None, Stop()
        )
        if claim.wrong:
            self._end(claim, None, Outcome("failed", "skipped"))
            return
        self.flying.append(_Flying(following, self.pool.start(claim.job, log=claim.log)))

    def _end(self, claim: Claim, following: Following | None, outcome: Outcome) -> None:
        study = self.worker.claims.study
        with claim.log:
            if following is None:
                state, outcome = refuse(study, claim)
            else:
                state, outcome = settle(study, following, outcome)
        self.board.end(claim, state, outcome, self.worker.view())
        if state == "stopped":
            return
        self.worker.write()
        self._failures = self._failures + 1 if state == "failed" else 0
        if self._failures:
            self.gave_up = self.gave_up or self.worker.gives_up(self._failures, outcome.reason)


class CrowdBoard(Board):
    """The progress of a search of which several trials are trained at once."""

    def __init__(self, console: Console, view: Overview) -> None:
        super().__init__(console, view)
        self._flying: dict[int, tuple[Progress, float]] = {}
        """By number, how far each trial is and when it was sent off."""

    def begin(self, claim: Claim, progress: Progress, view: Overview) -> None:
        super().begin(claim, progress, view)
        self._claim, self._progress = None, None
        self._flying[claim.number] = (progress, time.monotonic())

    def stopping(self) -> None:
        self.say(f"stopping: {len(self._flying)} trials save; a second Ctrl-C ends them")

    def end(self, claim: Claim, state: str, outcome: Outcome, view: Overview) -> None:
        self._flying.pop(claim.number, None)
        super().end(claim, state, outcome, view)

    def _present_trial(self, now: float) -> list[Text]:
        lines = []
        for number, (progress, began) in list(self._flying.items())[:SHOWN_TRIALS]:
            facts = [f"sent off {clock(now - began)} ago"]
            if progress.steps:
                facts = [f"stage {progress.stage} {progress.step:,}/{progress.steps:,}"]
                if (left := progress.remaining_s(now)) is not None:
                    facts.append(f"ETA {clock(left)}")
            lines.append(Text.assemble((f"trial {number}", "bold"), f": {' · '.join(facts)}"))
        return lines
