"""One trial: its child process is followed, its scores are reported, and its end is told."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from trivium.apps.tune.claims import REASON, SEEN, SEEN_EVERY_S, Claim, tell
from trivium.apps.tune.rows import COSTS, SCORES
from trivium.run.folder.objectives import SPLIT, Objective, costs_of
from trivium.run.folder.resume import remove_resume
from trivium.run.folder.scores import Scores, read_scores
from trivium.run.jobs.child import Outcome, Stop, train_locked
from trivium.run.jobs.follow import Progress

LOOK_EVERY_S = 0.25


@dataclass(slots=True)
class Following:
    """What a worker does while the child trains."""

    claim: Claim
    objectives: list[Objective]
    stop: Stop
    progress: Progress
    look: Callable[[int], None]
    """Called now and then with the size of the log at the start."""
    child: Stop
    """What the child is asked; the person's wish, or the pruner's."""
    is_pruned: bool = False
    is_taken: bool = False
    """Whether another worker gave this trial up and put another in its place."""
    _looked: float = 0.0
    _seen: float = 0.0

    def watch(self, log_start: int, _waits_for: str) -> None:
        now = time.monotonic()
        is_asked = self.stop.asked > self.child.asked
        self.child.asked = max(self.child.asked, self.stop.asked)
        # What was asked is seen before the child hears of it, which may end at once.
        if not is_asked and now - self._looked < LOOK_EVERY_S:
            return
        self._looked = now
        self.progress.look(now)
        self.look(log_start)
        if self.is_pruned or self.is_taken:
            return
        try:
            self._show(now)
            self._report()
        except UpdateFinishedTrialError:
            self.is_taken, self.child.asked = True, max(1, self.child.asked)

    def _show(self, now: float) -> None:
        if now - self._seen > SEEN_EVERY_S:
            self._seen = now
            self.claim.trial.set_user_attr(SEEN, time.time())

    def _report(self) -> None:
        """Tell Optuna each new score, and end the trial if that is the pruner's verdict."""
        if len(self.objectives) > 1 or self.objectives[0].is_cost:
            return
        trial, reported = self.claim.trial, self.claim.reported
        for number, evaluation in enumerate(self.progress.evaluations, start=1):
            value = self.objectives[0].now(evaluation)
            if number in reported or value is None:
                continue
            reported.add(number)
            trial.report(value, number)
            # At its end a trial costs nothing more, and its score is worth having.
            if not self.progress.is_last(evaluation) and trial.should_prune():
                self.is_pruned, self.child.asked = True, max(1, self.child.asked)
                return


def carry_out(
    study: optuna.Study,
    claim: Claim,
    objectives: list[Objective],
    *,
    stop: Stop,
    progress: Progress,
    look: Callable[[int], None],
) -> tuple[str, Outcome]:
    """Train a trial and tell Optuna what became of it: done, pruned, failed or stopped."""
    if claim.wrong:
        return refuse(study, claim)
    following = Following(claim, objectives, stop, progress, look, Stop())
    outcome = train_locked(claim.job, claim.log, following.child, following.watch)
    return settle(study, following, outcome)


def refuse(study: optuna.Study, claim: Claim) -> tuple[str, Outcome]:
    """A trial whose recipe refuses what was drawn has failed."""
    return _fail(study, claim, claim.wrong), Outcome("failed", "skipped", reason=claim.wrong)


def settle(study: optuna.Study, following: Following, outcome: Outcome) -> tuple[str, Outcome]:
    """Tell Optuna what became of a trial that was trained: done, pruned, failed or stopped.

    Of one that another worker has given up meanwhile nothing is told: it was stopped.
    """
    claim = following.claim
    if following.is_taken:
        return "stopped", outcome
    if outcome.state == "done":
        return _finish(study, claim, following.objectives, outcome)
    if outcome.state == "failed":
        return _fail(study, claim, outcome.reason), outcome
    if following.is_pruned:
        is_told = tell(study, claim.trial, state=TrialState.PRUNED)
        remove_resume(claim.job.folder)  # twice the model's size, and of no use now
        return ("pruned" if is_told else "stopped"), outcome
    return "stopped", outcome


def _finish(
    study: optuna.Study, claim: Claim, objectives: list[Objective], outcome: Outcome
) -> tuple[str, Outcome]:
    scores = read_scores(claim.job.folder)
    values = [objective.final(scores) for objective in objectives]
    if missing := [o.name for o, v in zip(objectives, values, strict=True) if v is None]:
        reason = f"its scores have no finite {', '.join(missing)}"
        state = _fail(study, claim, reason)
        return state, Outcome("failed", outcome.how, outcome.seconds, reason)
    try:
        claim.trial.set_user_attr(SCORES, _dev_scores(scores))
        claim.trial.set_user_attr(COSTS, costs_of(scores))
    except UpdateFinishedTrialError:
        return "stopped", outcome
    return ("done" if tell(study, claim.trial, values=values) else "stopped"), outcome


def _fail(study: optuna.Study, claim: Claim, reason: str) -> str:
    """What became of the trial by that: it failed, unless another worker had given it up before."""
    try:
        claim.trial.set_user_attr(REASON, reason)
    except UpdateFinishedTrialError:
        return "stopped"
    return "failed" if tell(study, claim.trial, state=TrialState.FAIL) else "stopped"


def _dev_scores(scores: Scores) -> dict[str, float]:
    """Every dev score by task.metric, and the overall one."""
    values = {
        f"{task}.{metric}": value
        for task in scores.tasks
        for metric, value in scores.of(task, SPLIT).items()
        if metric != "rows"
    }
    if (mean := scores.overall_of(SPLIT)) is not None:
        values["overall"] = mean
    return values
