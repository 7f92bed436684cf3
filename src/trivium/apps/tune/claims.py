"""Which trial a worker carries out next; nobody else has it, and none is lost or done twice.

A worker that has a trial holds a lock (flock) on the trial's log. The kernel ends the lock with the
worker and its child, however they end, so that the trial can be taken up at once: a heartbeat
would leave it alone for minutes, and Optuna's makes a new trial of it. Heartbeats are only for
workers in other folders, which share no more than the storage with this one.
"""

import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from trivium.apps.tune.folder import Folder
from trivium.apps.tune.sampling import Space
from trivium.apps.tune.storage import LOCAL
from trivium.errors import RecipeError
from trivium.recipe import Recipe, dump_recipe
from trivium.recipe.change import change_recipe
from trivium.recipe.search import Point
from trivium.run.folder.atomic import write_text
from trivium.run.folder.locks import lock
from trivium.run.jobs.child import Job, open_log

HOME, PLACE, SEEN = "home", "place", "seen"
"""Attributes of a trial: the id of its folder, where that is, and when its worker last showed."""
REASON, VOID = "reason", "void"
"""Why a trial failed; whether it does not count, since another stands in for it."""
SEEN_EVERY_S = 60.0
GRACE_S = 900.0
"""Silence after which a trial in another folder is taken for lost. Clocks may differ by minutes."""


@dataclass(slots=True)
class Claim:
    """A trial that is this worker's."""

    trial: optuna.Trial
    point: Point
    job: Job
    log: IO[str]
    is_resumed: bool
    wrong: str = ""
    """Why the recipe refuses the point."""
    reported: set[int] = field(default_factory=set)
    """Evaluations that Optuna knows of."""

    @property
    def number(self) -> int:
        return self.trial.number


@dataclass(slots=True)
class Claims:
    """The search's trials, as a worker sees them."""

    study: optuna.Study
    folder: Folder
    space: Space
    path: Path
    recipe: Recipe
    total: int
    failed_before: frozenset[int] = field(init=False, default=frozenset())
    """Trials of a list that had failed when this worker began, and not for what their settings are:
    each point is tried once more, after those that never were."""

    def __post_init__(self) -> None:
        self.space.agree_with(self.study.get_trials(deepcopy=False))
        self.failed_before = frozenset(trial.number for trial in self._failed())

    def next(self) -> Claim | None:
        """An interrupted trial of this folder, or else a new one; None where all are given out."""
        with self.folder.locked():
            return self._interrupted() or self._new()

    def trials(self) -> list[FrozenTrial]:
        """All that count, or failed by themselves, in order."""
        return [t for t in self.study.get_trials(deepcopy=False) if not _is_void(t)]

    def finished(self) -> list[FrozenTrial]:
        return [t for t in self.trials() if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]

    def running(self) -> list[FrozenTrial]:
        """Begun and not ended: in a worker's hands, or left behind."""
        return [trial for trial in self.trials() if trial.state == TrialState.RUNNING]

    def failed(self) -> list[int]:
        """Trials of a list whose points another call would try again."""
        done = [trial.params for trial in self.finished()]
        return [trial.number for trial in self._failed() if trial.params not in done]

    def has_left(self) -> bool:
        """Whether there is a trial to begin."""
        trials = self.trials()
        if any(trial.state == TrialState.WAITING for trial in trials):
            return True
        is_full = sum(map(self._counts, trials)) >= self.total
        return not is_full and not (self.space.listed and not self._left(trials))

    def is_whole(self, trial: FrozenTrial) -> bool:
        """Whether all of a trial's values were drawn."""
        return trial.params.keys() == self.space.distributions.keys()

    def recipe_of(self, drawn: dict[str, Any]) -> Recipe:
        """A trial's whole recipe. Raises RecipeError where its values do not go together."""
        return change_recipe(self.recipe, self.space.point(drawn), self.path)

    def _interrupted(self) -> Claim | None:
        for frozen in self.running():
            if frozen.user_attrs.get(HOME) == self.folder.home:
                if log := self._locked_log(frozen.number):
                    # Optuna draws once more, for nothing: what a trial has, it keeps.
                    trial = optuna.Trial(self.study, frozen._trial_id)
                    claim = self._claim(trial, log, is_resumed=True)
                    claim.reported = set(frozen.intermediate_values)
                    return claim
            elif self._is_lost(frozen):
                self._replace(frozen)
        return None

    def _new(self) -> Claim | None:
        while True:
            if not self.has_left():
                return None
            trials = self.trials()
            waiting = any(trial.state == TrialState.WAITING for trial in trials)
            if self.space.listed and not waiting:
                self.study.enqueue_trial(self._left(trials)[0])
            trial = self.study.ask(self.space.distributions)
            trial.set_user_attr(PLACE, f"{socket.gethostname()}:{self.folder.path.resolve()}")
            trial.set_user_attr(SEEN, time.time())
            trial.set_user_attr(HOME, self.folder.home)  # the last: now it can be taken up
            if self._is_too_many(trial):
                self._void(trial, "another worker was faster")
                continue
            log = self._locked_log(trial.number)
            assert log is not None, "a new trial's log is nobody else's"
            return self._claim(trial, log, is_resumed=False)

    def _left(self, trials: Sequence[FrozenTrial]) -> list[dict[str, str]]:
        """Points of the list that no trial stands for; those that failed before at the end."""
        used = [trial.params for trial in trials if self._counts(trial)]
        failed = [trial.params for trial in trials if trial.number in self.failed_before]
        left = [point for point in self.space.listed if point not in used]
        return sorted(left, key=failed.__contains__)

    def _failed(self) -> list[FrozenTrial]:
        """Trials of a list that failed, though the recipe takes their values."""
        if not self.space.listed:
            return []
        failed = [t for t in self.trials() if t.state == TrialState.FAIL and self.is_whole(t)]
        return [trial for trial in failed if self._is_taken(trial.params)]

    def _is_taken(self, drawn: dict[str, Any]) -> bool:
        """Whether the recipe takes these values."""
        try:
            self.recipe_of(drawn)
        except RecipeError:
            return False
        return True

    def _locked_log(self, number: int) -> IO[str] | None:
        """The log of a trial that is nobody else's."""
        log = open_log(self.folder.job(number, self.recipe))
        if lock(log):
            return log
        log.close()
        return None

    def _claim(self, trial: optuna.Trial, log: IO[str], *, is_resumed: bool) -> Claim:
        wrong, recipe = "", self.recipe
        try:
            recipe = self.recipe_of(trial.params)
        except RecipeError as error:
            wrong = str(error)
        job = self.folder.job(trial.number, recipe)
        write_text(job.path, dump_recipe(recipe))
        return Claim(trial, self.space.point(trial.params), job, log, is_resumed, wrong)

    def _counts(self, trial: FrozenTrial) -> bool:
        """Whether a trial is one of the search's total. One that failed makes room for another,
        unless it was to be just that one, which has one attempt a call."""
        is_of_list = bool(self.space.listed) and trial.number not in self.failed_before
        return trial.state != TrialState.FAIL or is_of_list

    def _is_too_many(self, trial: optuna.Trial) -> bool:
        """Whether workers in different folders, at the same moment, began more than was left.

        Numbers are given out one by one, so all of them agree on which trial it is.
        """
        before = [t for t in self.trials() if t.number < trial.number and self._counts(t)]
        if len(before) >= self.total:
            return True
        if not self.space.listed:
            return False
        # One that found the queue emptied by another was drawn at random, outside the list.
        return trial.params not in self.space.listed or trial.params in [t.params for t in before]

    def _is_lost(self, trial: FrozenTrial) -> bool:
        """Whether nobody will go on with a trial that is not in this folder."""
        if HOME not in trial.user_attrs and self.folder.storage in LOCAL:
            return True  # its worker was killed while it began; others would wait for our lock
        began = trial.datetime_start.timestamp() if trial.datetime_start else 0.0
        seen: float = trial.user_attrs.get(SEEN, began)
        return time.time() - seen > GRACE_S

    def _replace(self, frozen: FrozenTrial) -> None:
        """Another trial of the same values in place of one that is lost."""
        if not self._void(optuna.Trial(self.study, frozen._trial_id), "its worker was lost"):
            return
        if self.is_whole(frozen):
            self.study.enqueue_trial(frozen.params)

    def _void(self, trial: optuna.Trial, reason: str) -> bool:
        """Take a trial out of the count; whether it was this worker that did."""
        try:
            trial.set_user_attr(REASON, reason)
            trial.set_user_attr(VOID, True)
        except UpdateFinishedTrialError:
            return False
        return tell(self.study, trial, state=TrialState.FAIL)


def _is_void(trial: FrozenTrial) -> bool:
    # Without the state, a trial would be void whose worker showed at the last moment and ended it.
    return trial.state == TrialState.FAIL and bool(trial.user_attrs.get(VOID))


def tell(study: optuna.Study, trial: optuna.Trial, **outcome: Any) -> bool:
    """Tell Optuna what became of a trial; False where another worker had told it before."""
    try:
        study.tell(trial, **outcome)
    except (UpdateFinishedTrialError, ValueError):
        trials = {t.number: t for t in study.get_trials(deepcopy=False)}
        if trials[trial.number].state.is_finished():
            return False
        raise
    return True
