"""A study of several runs at a time: all that wait for no other, as far as there is room."""

import time
from statistics import fmean

from rich.console import Console, Group
from rich.text import Text

from trivium.apps.study.board import READ_EVERY_S, Board
from trivium.apps.study.ensembles import EnsembleRun, Run
from trivium.apps.study.runs import Plan
from trivium.apps.study.shown import write_table
from trivium.apps.study.table import summarise
from trivium.errors import RecipeError
from trivium.run.cluster.pool import LOOK_EVERY_S, AnyFlight, AnyPool
from trivium.run.folder.atomic import recover
from trivium.run.jobs.child import Outcome, Stop, train_run
from trivium.run.jobs.follow import Progress
from trivium.run.screen.live import clock

SHOWN_RUNS = 12
"""At once, on a terminal."""


def outcome_at_once(run: Run) -> Outcome | None:
    """Of a run that is not to be trained: it is finished, or lacks what it is made of."""
    if isinstance(run, EnsembleRun):
        recover(run.folder)  # replacing an ensemble may have been interrupted
    if run.is_finished:
        # Done, unless what it learned from was made anew by this study.
        try:
            run.refuse_other()
        except RecipeError as error:
            return Outcome("failed", "skipped", reason=str(error))
        return Outcome("done", "skipped")
    if missing := run.waits_for:
        return Outcome("failed", "skipped", reason=f"waits for {', '.join(map(str, missing))}")
    return None


def carry_out_crowd(plan: Plan, pool: AnyPool, stop: Stop, console: Console) -> dict[Run, str]:
    """All runs, as soon as what each waits for is there; why some failed. Raises RecipeError."""
    for run in plan.runs:
        if pool.store is not None and run.starts_from is not None:
            raise RecipeError(
                f"{run.path}: start: is a run of this study, which machines without a common "
                "folder do not see; leave --store out, or train it by a study of its own first."
            )
    with CrowdBoard(console, plan, pool.asked.at_once) as board:
        crowd = _Crowd(plan, pool, board, stop)
        while crowd.send(none=bool(stop.asked)):
            crowd.look()
            crowd.pass_on(stop.asked)
            board.look()
            time.sleep(LOOK_EVERY_S)
    return crowd.failed


class _Crowd:
    """The runs of a study, some of them in flight."""

    def __init__(self, plan: Plan, pool: AnyPool, board: "CrowdBoard", stop: Stop) -> None:
        self.plan, self.pool, self.board, self.stop = plan, pool, board, stop
        self.waiting = list(plan.runs)
        self.flights: dict[AnyFlight, Run] = {}
        self.failed: dict[Run, str] = {}
        self._passed_on = 0
        self._is_looked_at = False
        """Whether nothing changed since it was found what can begin."""

    def send(self, *, none: bool) -> bool:
        """Begin what can begin, unless `none` may; whether anything is left to wait for."""
        if none:
            self.waiting.clear()
        if not self._is_looked_at:
            self._is_looked_at = True
            for run in list(self.waiting):
                self._begin(run)
        return bool(self.waiting or self.flights)

    def look(self) -> None:
        """See what has ended."""
        for flight, run in list(self.flights.items()):
            if (outcome := flight.look()) is not None:
                del self.flights[flight]
                self._end(run, outcome)

    def pass_on(self, asked: int) -> None:
        """How often somebody asked to stop."""
        if asked <= self._passed_on:
            return
        if self._passed_on == 0:
            self.board.stopping()
        for flight in self.flights:
            for _ in range(asked - self._passed_on):
                flight.stop()
        self._passed_on = asked

    def _begin(self, run: Run) -> None:
        pending = {*self.waiting, *self.flights.values()} - {run}
        needed = run.members if isinstance(run, EnsembleRun) else (run.starts_from,)
        most = self.pool.asked.at_once
        is_full = most is not None and len(self.flights) >= most
        if pending.intersection(needed) or is_full:
            return
        self.waiting.remove(run)
        outcome = outcome_at_once(run)
        is_trained = not isinstance(run, EnsembleRun)
        if outcome is None and self.pool.store is not None and not is_trained:
            # Its members were fetched; it only reads their dev rows again.
            outcome = train_run(run, self.stop, lambda _start, _waits: None)
        if outcome is None:
            self.flights[self.pool.start(run, weighs=is_trained)] = run
            self.board.begin(run)
        else:
            self._end(run, outcome)

    def _end(self, run: Run, outcome: Outcome) -> None:
        self._is_looked_at = False
        if outcome.state == "failed":
            self.failed[run] = outcome.reason
        self.board.end(run, outcome)
        if outcome.how != "skipped":
            write_table(self.plan, summarise(self.plan, self.failed))


class CrowdBoard(Board):
    """The progress of a study of which several runs are trained at once."""

    def __init__(self, console: Console, plan: Plan, at_once: int | None) -> None:
        super().__init__(console, plan)
        self._at_once = at_once
        self._flying: dict[Run, tuple[Progress, float]] = {}
        """What is known of each run, and when it was sent off."""

    def begin(self, run: Run) -> None:
        stages = [stage.name for stage in run.recipe.stages]
        self._flying[run] = (Progress(run.folder, stages), time.monotonic())

    def look(self) -> None:
        """Read how far runs are, once a second."""
        now = time.monotonic()
        if not self.is_live or now - self._looked < READ_EVERY_S:
            return
        self._looked = now
        for progress, _ in self._flying.values():
            progress.look(now)
        self.refresh()

    def stopping(self) -> None:
        count = len(self._flying)
        what, them = ("run saves", "it") if count == 1 else ("runs save", "them")
        self.say(f"stopping: {count} {what}; a second Ctrl-C ends {them}")

    def end(self, run: Run, outcome: Outcome) -> None:
        self._flying.pop(run, None)
        for progress, _ in self._flying.values():
            progress.look(time.monotonic())
        super().end(run, outcome)

    def _remaining_s(self, now: float) -> float | None:
        """What is left of all runs, shared among as many as are trained at once."""
        flying = dict(self._flying)  # another thread draws
        left = {run: self._left_s(run, *known, now) for run, known in flying.items()}
        whole = [s + now - flying[run][1] for run, s in left.items() if s is not None]
        usual = fmean(whole) if whole else None  # of runs of which nothing is known yet
        lasting = [usual if seconds is None else seconds for seconds in left.values()]
        for run in self.plan.runs:
            if run not in self._ended and run not in flying and not run.is_finished:
                expected = self._expected_s(run)
                lasting.append(usual if expected is None else expected)
        found = [seconds for seconds in lasting if seconds is not None]
        if len(found) < len(lasting):
            return None
        at_work = sum(bool(progress.steps) for progress, _ in flying.values())
        return max(0.0, sum(found) / max(1, self._at_once or at_work), *found)

    def _left_s(self, run: Run, progress: Progress, began: float, now: float) -> float | None:
        """Of a run that is trained: at its speed, or else as long as others have taken."""
        left, usual = progress.remaining_s(now), self._expected_s(run)
        return max(0.0, usual - (now - began)) if left is None and usual is not None else left

    def present(self) -> Group:
        now = time.monotonic()
        lines = []
        for run, (progress, began) in list(self._flying.items())[:SHOWN_RUNS]:
            facts = [f"sent off {clock(now - began)} ago"]
            if progress.steps:
                facts = [f"stage {progress.stage} {progress.step:,}/{progress.steps:,}"]
                if (left := progress.remaining_s(now)) is not None:
                    facts.append(f"ETA {clock(left)}")
            lines.append(Text.assemble(*self._place(run), f": {' · '.join(facts)}"))
        if (hidden := len(self._flying) - SHOWN_RUNS) > 0:
            lines.append(Text(f"and {hidden:,} more", style="dim"))
        if lines and (whole := self._remaining_s(now)) is not None:
            lines.append(Text(f"study ETA {clock(whole)}", style="dim"))
        return Group(*lines)
