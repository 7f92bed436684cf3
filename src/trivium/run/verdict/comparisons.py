"""Every system against the baseline of each task, with the interval of the difference."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from rich.console import Console

from trivium.parts.tasks import Task
from trivium.run.folder.predictions import Answers
from trivium.run.screen.progress import rows_bar
from trivium.run.verdict import bootstrap
from trivium.run.verdict.bootstrap import Array
from trivium.run.verdict.differing import differing_rows, least_p
from trivium.run.verdict.facts import OVERALL, Comparison, Group, TaskScore
from trivium.run.verdict.holm import corrected, p_value
from trivium.run.verdict.same_rows import refuse_other_rows
from trivium.run.verdict.sentences import outcome_of, sentence
from trivium.run.verdict.systems import System

SINGLES = "single-task models"
LEADERBOARD = "leaderboard mean"


@dataclass(frozen=True, slots=True)
class Sampled:
    """What a system scored on one task."""

    system: System
    task: Task
    score_S: Array
    score_SM: Array
    """On resampled rows; empty where nothing is compared."""

    @property
    def answers(self) -> list[Answers]:
        """A file for each seed."""
        return self.system.answers[self.task.name]

    @property
    def rows(self) -> int:
        return len(self.answers[0].lines)


Side = list[Sampled]
"""What stands on one side of a comparison: one task of one system; or all tasks, of one system or
of several."""


def baselines_of(systems: Sequence[System]) -> tuple[dict[str, System], list[str]]:
    """What others are compared with, by task; and notes where there was a choice.

    The first single-task system of the task, else the first system that has it, and in both cases
    an ensemble only where there is no other: the order in which they are given decides, not their
    scores, since the better of several on these rows would look better than it is.
    """
    names = dict.fromkeys(name for system in systems for name in system.answers)
    baselines, notes = {}, []
    for name in names:
        having = [system for system in systems if name in system.answers]
        having.sort(key=lambda system: system.is_ensemble)  # stable
        singles = [system for system in having if system.single == name]
        baselines[name] = (singles or having)[0]
        if len(singles) > 1:
            others = ", ".join(system.name for system in singles[1:])
            notes.append(
                f"{name}: of several single-task models the first that was given, "
                f"{baselines[name].name}, is the baseline; {others} stands against it, too."
            )
    return baselines, notes


def compare_all(
    systems: Sequence[System],
    baselines: dict[str, System],
    resamples: int,
    console: Console | None,
) -> tuple[list[Group], list[Comparison]]:
    """Raises RecipeError where systems with the same task were judged on different rows."""
    sampled = _sampled(systems, baselines, resamples, console)
    groups = [_group(system, sampled) for system in systems]
    comparisons = []
    for system in systems:
        side = [sampled[system.name, name] for name in system.answers]
        against = [sampled[baselines[one.task.name].name, one.task.name] for one in side]
        pairs = [(a, b) for a, b in zip(side, against, strict=True) if a.system is not b.system]
        found = [_compared([a], [b]) for a, b in pairs]
        if len(pairs) == len(system.tasks) > 1 and _is_whole(against):
            found.append(_compared(side, against))
        comparisons += [replace(one, sentence=sentence(one)) for one in corrected(found)]
    return groups, comparisons


def is_sharing(system: System, baselines: Sequence[System]) -> bool:
    """Whether one model for several tasks stands against models for a single one each."""
    is_one = len(system.tasks) > 1 and not system.is_ensemble
    return is_one and all(b.single and not b.is_ensemble for b in baselines)


def _is_whole(side: Side) -> bool:
    """Whether its overall score is that of something: of single-task models, or of one system."""
    systems = {id(one.system): one.system for one in side}
    if all(system.single for system in systems.values()):
        return True
    return len(systems) == 1 and len(side) == len(side[0].system.tasks)


def _sampled(
    systems: Sequence[System], baselines: dict[str, System], resamples: int, console: Console | None
) -> dict[tuple[str, str], Sampled]:
    """By system and task. Rows are drawn once for all systems that have a task."""
    having = {name: [s for s in systems if name in s.answers] for name in baselines}
    for name, sharers in having.items():
        refuse_other_rows([baselines[name], *sharers], name)
    sampled = {}
    with rows_bar(console, "resamples") as bar:
        tasks = {name: sharers[0].answers[name][0].task for name, sharers in having.items()}
        tests = max(len(system.answers) for system in systems)
        total = sum(
            bootstrap.how_many(tasks[name], resamples, tests)
            for name in having
            if len(having[name]) > 1
        )
        on_progress = partial(bar.advance, bar.add_task("comparing", total=total))
        for name, sharers in having.items():
            answers = [answers for system in sharers for answers in system.answers[name]]
            score_S = bootstrap.scores_of(answers)
            score_SM = np.empty((len(answers), 0))
            if len(sharers) > 1:
                score_SM = bootstrap.row_scores(answers, resamples, on_progress, tests)
            start = 0
            for system in sharers:
                end = start + len(system.answers[name])
                sampled[system.name, name] = Sampled(
                    system, tasks[name], score_S[start:end], score_SM[start:end]
                )
                start = end
    return sampled


# --- one comparison ----------------------------------------------------------------------------


def _compared(side: Side, against: Side) -> Comparison:
    """One task, or the leaderboard means of all."""
    system, others = side[0].system, list({id(b.system): b.system for b in against}.values())
    before, after = _mean(against), _mean(side)
    resamples = min(one.score_SM.shape[1] for one in [*side, *against])
    difference_M = _resampled(side, resamples) - _resampled(against, resamples)
    low, high = bootstrap.interval(difference_M)
    differing = differing_rows((a.answers, b.answers) for a, b in zip(side, against, strict=True))
    is_flattered = _is_flattered(side if after > before else against)
    least = 1.0 if is_flattered else least_p(differing)
    outcome, p = outcome_of(after - before, low, high, least), max(least, p_value(difference_M))
    baseline = others[0].name if len(others) == 1 else SINGLES
    task, metric = (
        (side[0].task.name, side[0].task.metric) if len(side) == 1 else (OVERALL, LEADERBOARD)
    )
    return Comparison(
        system=system.name,
        baseline=baseline,
        task=task,
        metric=metric,
        is_sharing=is_sharing(system, others),
        rows=sum(one.rows for one in side),
        differing=differing,
        before=before,
        after=after,
        difference=after - before,
        low=low,
        high=high,
        by_seed=_by_seed(side, against),
        seeds=(len(system.runs), min(len(other.runs) for other in others)),
        resamples=resamples,
        outcome=outcome,
        p=p,
        tests=1,
        adjusted_p=p,
        corrected=outcome,
        is_flattered=is_flattered,
        sentence="",
    )


def _is_flattered(better: Side) -> bool:
    """Whether the side that scores higher was chosen by these scores: then they tell nothing. Where
    it scores lower all the same, they do."""
    return any(one.task.name in one.system.chosen_here for one in better)


def _resampled(side: Side, resamples: int) -> Array:
    """The side's score in every resample of rows and seeds: score_M."""
    scores = []
    for one in side:
        # Equal for all tasks of a system: a seed is a run, which answers all of them.
        weight_MS = bootstrap.seed_weights(len(one.score_S), resamples, one.system.name)
        score_M = np.einsum("MS,SM->M", weight_MS, one.score_SM[:, :resamples])
        scores.append(_counted(one.task, score_M, len(side)))
    return np.asarray(np.mean(scores, axis=0))


def _mean(side: Side) -> float:
    return float(np.mean([_counted(one.task, one.score_S, len(side)).mean() for one in side]))


def _by_seed(side: Side, against: Side) -> dict[int, float]:
    """The difference of each seed that every system here has once."""
    common = set(side[0].system.seeds)
    for one in against:
        common &= set(one.system.seeds)

    def of(side: Side, seed: int) -> float:
        values = [(one.task, one.score_S[one.system.seeds.index(seed)]) for one in side]
        return float(np.mean([_counted(task, np.asarray(v), len(side)) for task, v in values]))

    return {
        seed: of(side, seed) - of(against, seed)
        for seed in sorted(seed for seed in common if seed is not None)
    }


def _counted(task: Task, score: Array, tasks: int) -> Array:
    """A score by itself; or, among those of several tasks, as the leaderboard mean counts it."""
    # Written for one score, it does for an array of them.
    return score if tasks == 1 else task.leaderboard({task.metric: score})  # type: ignore[dict-item, return-value]


# --- a system by itself ------------------------------------------------------------------------


def _group(system: System, sampled: dict[tuple[str, str], Sampled]) -> Group:
    side = [sampled[system.name, name] for name in system.answers]
    scores = [_counted(one.task, one.score_S, len(side)) for one in side]
    overall = None
    if side and len(side) == len(system.tasks):
        metric = LEADERBOARD if len(side) > 1 else side[0].task.metric
        overall = _told(metric, np.mean(scores, axis=0))
    return Group(
        name=system.name,
        folders=[str(run.folder) for run in system.runs],
        seeds=system.seeds,
        encoder=system.encoder,
        single=system.single,
        scores={one.task.name: _told(one.task.metric, one.score_S) for one in side},
        overall=overall,
    )


def _told(metric: str, score_S: Array) -> TaskScore:
    values = [float(value) for value in score_S]
    sd = statistics.stdev(values) if len(values) > 1 else None
    return TaskScore(metric, statistics.fmean(values), sd, values)
