"""What a person sees of a study: a line per run, and on a terminal what the present one does."""

import time
from statistics import fmean

from rich.console import Console, Group
from rich.text import Text

from trivium.apps.study.ensembles import EnsembleRun, Run
from trivium.apps.study.runs import Plan
from trivium.run.folder.scores import Scores, read_scores
from trivium.run.jobs.child import Outcome, last_lines
from trivium.run.jobs.follow import Progress
from trivium.run.screen.harmless import Part
from trivium.run.screen.live import Screen, clock

READ_EVERY_S = 1.0
COLOURS = {"done": "green", "failed": "bold red", "stopped": "yellow"}


class Board(Screen):
    """The progress of a study."""

    def __init__(self, console: Console, plan: Plan) -> None:
        super().__init__(console)
        self.plan = plan
        self._known: dict[str, list[float]] = {}
        """Seconds of finished runs, by recipe."""
        self._ended: set[Run] = set()
        self._run: Run | None = None
        self._progress: Progress | None = None
        self._note = ""
        self._began = self._looked = 0.0

    def begin(self, run: Run) -> None:
        self._run, self._note = run, ""
        self._progress = Progress(run.folder, [stage.name for stage in run.recipe.stages])
        self._began, self._looked = time.monotonic(), 0.0

    def watch(self, log_start: int, waits_for: str) -> None:
        """Look at the present run's files, once a second."""
        now = time.monotonic()
        if not self.is_live or now - self._looked < READ_EVERY_S:
            return
        assert self._run is not None
        assert self._progress is not None
        self._looked = now
        self._progress.look(now)
        self._note = waits_for or "".join(last_lines(self._run.log, log_start, lines=1))
        self.refresh()

    def stopping(self) -> None:
        """Say once that the study was asked to stop."""
        self.say(f"stopping: {self._run} saves; a second Ctrl-C kills it")

    def end(self, run: Run, outcome: Outcome) -> None:
        """One line on what became of a run; the end of its log if it failed."""
        self._run, self._progress = None, None
        self._ended.add(run)
        words = {
            "done": {"skipped": "finished before, skipped", "resumed": "resumed, done"}.get(
                outcome.how, "done"
            ),
            "failed": f"failed, {outcome.reason}",
            "stopped": "stopped",
        }[outcome.state]
        facts: list[str] = []
        if outcome.state == "done":
            scores = read_scores(run.folder)
            spent = max(outcome.seconds, scores.cost.seconds or 0.0)
            self._known.setdefault(run.name, []).append(spent)
            facts += [*shown_scores(run, scores), f"{spent:,.0f} s"]
        has_trained = outcome.how != "skipped" and outcome.state != "stopped"
        if has_trained and (left := self._remaining_s(time.monotonic())):
            facts.append(f"ETA {clock(left)}")
        known = "".join(f" · {fact}" for fact in facts)
        self.say(*self._place(run), ": ", (words, COLOURS[outcome.state]), known)
        if outcome.tail:
            for line in outcome.tail:
                self.say(f"    {line}", style="dim")
            self.say(f"    all of it: {run.log}", style="dim")

    def _place(self, run: Run) -> list[Part]:
        runs = self.plan.runs
        number = f"{runs.index(run) + 1}/{len(runs)}"
        return [f"{number} ", (run.name, "bold"), f" seed {run.seed}"]

    def _remaining_s(self, now: float) -> float | None:
        """Seconds to the end of the study; None while nothing is known."""
        waiting = [r for r in self.plan.runs if r not in self._ended and r is not self._run]
        lasting = [self._expected_s(run) for run in waiting if not run.is_finished]
        if self._run and self._progress:
            rest = self._progress.remaining_s(now)
            usual = self._expected_s(self._run)
            if rest is None and usual is not None:
                rest = max(0.0, usual - (now - self._began))
            if rest is not None:  # the others may take as long as this one will have
                whole = now - self._began + rest
                lasting = [whole if seconds is None else seconds for seconds in lasting]
            lasting.append(rest)
        return None if None in lasting else sum(filter(None, lasting))

    def _expected_s(self, run: Run) -> float | None:
        """What a run takes: as long as others of its recipe, or else of any."""
        if isinstance(run, EnsembleRun) and run.name not in self._known:
            return 0.0  # it only reads its members' dev rows again
        seconds = self._known.get(run.name) or [s for each in self._known.values() for s in each]
        return fmean(seconds) if seconds else None

    def present(self) -> Group:
        run, progress = self._run, self._progress
        if run is None or progress is None:
            return Group()
        now = time.monotonic()
        facts = [f"{clock(now - self._began)} so far"]
        if progress.steps:
            facts.insert(0, f"stage {progress.stage} {progress.step:,}/{progress.steps:,}")
        if (left := progress.remaining_s(now)) is not None:
            facts.append(f"ETA {clock(left)}")
        if (left := self._remaining_s(now)) is not None:
            facts.append(f"study ETA {clock(left)}")
        line = Text.assemble(*self._place(run), f": {' · '.join(facts)}")
        note = Text(f"    {self._note}", style="dim", no_wrap=True, overflow="ellipsis")
        return Group(line, note)


def shown_scores(run: Run, scores: Scores) -> list[str]:
    """Each task's main dev metric and the overall mean, in words."""
    shown = [
        f"{name} {task.metric} {value:.4f}"
        for name, task in run.recipe.tasks.items()
        if (value := scores.metric(name, "dev", task.metric)) is not None
    ]
    mean = scores.overall_of("dev")
    return [*shown, *([] if mean is None else [f"overall {mean:.4f}"])]
