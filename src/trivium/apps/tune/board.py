"""What a person sees of a search: on a terminal a live table, elsewhere a line per trial."""

import time

from rich.console import Console, Group
from rich.text import Text

from trivium.apps.tune.claims import Claim
from trivium.apps.tune.results import trial_grid
from trivium.apps.tune.rows import Overview, Row
from trivium.run.jobs.child import Outcome, last_lines
from trivium.run.jobs.follow import Progress
from trivium.run.screen.live import Screen, clock

COLOURS = {"done": "green", "pruned": "dim", "failed": "bold red", "stopped": "yellow"}
OTHER_LINES = 12
"""Of the screen, that are not the table's rows."""


class Board(Screen):
    """The progress of a search, as one worker knows it."""

    def __init__(self, console: Console, view: Overview) -> None:
        super().__init__(console)
        self.view = view
        self._start = time.monotonic()
        self._ended_before = len(view.ended)
        self._claim: Claim | None = None
        self._progress: Progress | None = None
        self._began = 0.0
        self._note = ""

    def begin(self, claim: Claim, progress: Progress, view: Overview) -> None:
        self.view, self._claim, self._progress, self._note = view, claim, progress, ""
        self._began = time.monotonic()
        if claim.is_resumed:
            self.say(f"trial {claim.number}: was interrupted, goes on")

    def look(self, log_start: int) -> None:
        """See what the present trial says."""
        if self.is_live and self._claim:
            self._note = "".join(last_lines(self._claim.job.log, log_start, lines=1))
            self.refresh()

    def stopping(self) -> None:
        """Say once that the search was asked to stop."""
        if self._claim:
            self.say(f"stopping: trial {self._claim.number} saves; a second Ctrl-C kills it")

    def end(self, claim: Claim, state: str, outcome: Outcome, view: Overview) -> None:
        """What became of a trial: a line, and the end of its log if it failed.

        state: done, pruned, failed or stopped.
        """
        self.view, self._claim, self._progress = view, None, None
        if self.is_live and state in ("done", "pruned"):
            return  # the table shows it
        row = next((row for row in view.rows if row.number == claim.number), None)
        if row is None:  # given up for lost while it was trained here
            self.say(f"trial {claim.number}: another worker took it up, as a trial of its own")
            return
        facts = self._score(row) if state in ("done", "pruned") else []
        facts.append(view.in_words(row))
        if state != "stopped":
            facts.append(f"{outcome.seconds:,.0f} s")
            left = self._remaining_s(time.monotonic())
            facts += [f"ETA {clock(left)}"] if left else []
        self.say(
            f"{len(view.ended)}/{view.total} ",
            (f"trial {claim.number}", "bold"),
            ": ",
            (state, COLOURS[state]),
            f", {row.reason}" if state == "failed" else "",
            "".join(f" · {fact}" for fact in facts),
        )
        for line in outcome.tail if state == "failed" else []:
            self.say(f"    {line}", style="dim")
        if state == "failed" and outcome.tail:
            self.say(f"    all of it: {claim.job.log}", style="dim")

    def _score(self, row: Row) -> list[str]:
        values = zip(self.view.objectives, self.view.shown_values(row), strict=True)
        parts = [f"{objective.title} {value}" for objective, value in values]
        if parts and row.number in self.view.best:
            parts[-1] += ", best so far" if len(self.view.objectives) == 1 else ", on the front"
        return parts

    def _remaining_s(self, now: float) -> float | None:
        """Seconds to the end, at the speed of all workers since this one began."""
        left = self.view.total - len(self.view.ended)
        share = self._progress.done if self._progress else 0.0
        ended = len(self.view.ended) - self._ended_before
        if ended:
            return (now - self._start) / (ended + share) * max(0.0, left - share)
        rest = self._progress.remaining_s(now) if self._progress else None
        return None if rest is None else rest + (left - 1) * (now - self._began + rest)

    def present(self) -> Group:
        view, now = self.view, time.monotonic()
        facts = [view.counts()]
        if view.best and len(view.objectives) == 1:
            best = view.row(view.best[0])
            value = view.shown_values(best)[0]
            facts.append(f"best {view.objectives[0].title} {value} (trial {best.number})")
        elif view.best:
            facts.append(f"{len(view.best)} on the Pareto front")
        if (left := self._remaining_s(now)) is not None:
            facts.append(f"ETA {clock(left)}")
        head = Text(" · ".join(facts), style="italic")
        return Group(head, trial_grid(view, self._rows()), *self._present_trial(now))

    def _rows(self) -> list[Row]:
        """The latest trials, as many as fit, and always the best."""
        room = max(3, self.console.size.height - OTHER_LINES)
        latest = self.view.rows[-room:]
        best = [row for row in self.view.rows if row.number in self.view.best and row not in latest]
        return [*best, *latest][: room + len(best)]

    def _present_trial(self, now: float) -> list[Text]:
        claim, progress = self._claim, self._progress
        if claim is None or progress is None:
            return []
        facts = [f"{clock(now - self._began)} so far"]
        if progress.steps:
            facts.insert(0, f"stage {progress.stage} {progress.step:,}/{progress.steps:,}")
        if (value := self._latest(progress)) is not None:
            facts.append(f"dev {self.view.objectives[0].title} {value}")
        line = Text.assemble((f"trial {claim.number}", "bold"), f": {' · '.join(facts)}")
        note = Text(f"    {self._note}", style="dim", no_wrap=True, overflow="ellipsis")
        return [line, note]

    def _latest(self, progress: Progress) -> str | None:
        objective = self.view.objectives[0]
        if objective.is_cost or not progress.evaluations:
            return None
        value = objective.now(progress.evaluations[-1])
        return None if value is None else objective.shown(value)
