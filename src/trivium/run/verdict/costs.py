"""What systems cost: training, memory, size, and the time to answer."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from trivium.run.folder.finished import FinishedRun
from trivium.run.folder.scores import Cost as RunCost
from trivium.run.verdict.answering import Timing
from trivium.run.verdict.facts import Comparison, Cost, OnePass, Outcome, Summary
from trivium.run.verdict.machines import is_one_machine
from trivium.run.verdict.sentences import summed_up
from trivium.run.verdict.systems import System
from trivium.run.verdict.together import one_pass

TOGETHER = "single-task models together"
MOST_LISTED = 4
"""Tasks in the name of a line; more are counted."""


def costs_of(
    systems: Sequence[System], baselines: dict[str, System], timing: Timing | None
) -> list[Cost]:
    """A line per system, with single-task models that others stand against added up at the end."""
    lines = [cost_of([system], timing) for system in systems]
    sums: dict[frozenset[str], Cost] = {}
    for system in systems:
        singles = replaced_by(system, baselines)
        added = frozenset(single.name for single in singles)
        if len(singles) > 1 and all(single.single for single in singles) and added not in sums:
            sums[added] = cost_of(singles, timing)
    return lines + list(sums.values())


def replaced_by(system: System, baselines: dict[str, System]) -> list[System]:
    """The systems that stand against all its tasks; none where it is a baseline itself."""
    replaced = {id(baselines[name]): baselines[name] for name in system.tasks if name in baselines}
    is_whole = all(name in baselines for name in system.tasks) and id(system) not in replaced
    return list(replaced.values()) if is_whole else []


def cost_of(systems: Sequence[System], timing: Timing | None) -> Cost:
    """Of one system; or of several for a task each, which take turns."""
    tasks = list(dict.fromkeys(name for system in systems for name in system.tasks))
    peaks = [_mean(system, _told(lambda cost: cost.peak_memory_bytes)) for system in systems]
    trained = [_mean(system, _told(lambda cost: cost.seconds)) for system in systems]
    is_alike = is_one_machine(systems)
    seconds = timing.seconds([system.name for system in systems]) if timing else None
    held = timing.held([system.name for system in systems]) if timing else None
    rows = timing.rows if timing and seconds is not None else None
    # Tasks that no row was there for were not asked.
    answers = rows * sum(len(system.answers) for system in systems) if rows else 0
    told = [peak for peak in peaks if peak is not None]
    listed = ", ".join(tasks) if len(tasks) <= MOST_LISTED else f"{len(tasks)} tasks"
    return Cost(
        name=systems[0].name if len(systems) == 1 else f"{TOGETHER}: {listed}",
        tasks=tasks,
        models=len(systems),
        train_seconds=_sum(trained) if is_alike else None,
        peak_bytes=round(max(told)) if is_alike and len(told) == len(peaks) else None,
        parameters=_whole(
            _sum([_mean(system, _told(lambda cost: cost.parameters)) for system in systems])
        ),
        disk_bytes=_whole(_sum([_mean(system, _on_disk) for system in systems])),
        answer_seconds=seconds,
        timed_rows=rows,
        rows_per_s=answers / seconds if answers and seconds else None,
        held_bytes=held,
    )


def one_passes(
    systems: Sequence[System], baselines: dict[str, System], timing: Timing | None
) -> list[OnePass]:
    """Of every model for several tasks that stands against a single-task model for each."""
    found = []
    for system in systems:
        singles = replaced_by(system, baselines)
        if len(singles) > 1 and all(one.single and not one.is_ensemble for one in singles):
            timed = timing.timed(system, singles) if timing else None
            found.append(one_pass(cost_of([system], timing), cost_of(singles, timing), timed))
    return found


def summary_of(
    system: System,
    replaced: Sequence[System],
    compared: Sequence[Comparison],
    timing: Timing | None,
) -> Summary:
    """replaced: as `replaced_by` tells; compared: the system's comparisons on single tasks."""

    def tasks_of(outcome: Outcome) -> list[str]:
        return [one.task for one in compared if one.corrected == outcome == one.outcome]

    def alone(outcome: Outcome) -> list[str]:
        return [one.task for one in compared if one.corrected != outcome == one.outcome]

    ratios = _ratios(system, replaced, timing)
    summary = Summary(
        system=system.name,
        baselines=list(dict.fromkeys(comparison.baseline for comparison in compared)),
        is_sharing=all(comparison.is_sharing for comparison in compared),
        better=tasks_of("better"),
        worse=tasks_of("worse"),
        better_alone=alone("better"),
        worse_alone=alone("worse"),
        undecided=tasks_of("noise"),
        same=tasks_of("same"),
        tasks=len(compared),
        seeds=min(min(comparison.seeds) for comparison in compared),
        parameters=ratios.parameters,
        train_seconds=ratios.train_seconds,
        answer_seconds=ratios.answer_seconds,
        sentence="",
    )
    return replace(summary, sentence=summed_up(summary))


@dataclass(frozen=True, slots=True)
class _Ratios:
    parameters: float | None = None
    train_seconds: float | None = None
    answer_seconds: float | None = None


def _ratios(system: System, replaced: Sequence[System], timing: Timing | None) -> _Ratios:
    """None told where those replaced are not for just the system's tasks, each task once."""
    is_same = len(replaced) == 1 and set(replaced[0].tasks) == set(system.tasks)
    if not replaced or not (is_same or all(one.single for one in replaced)):
        return _Ratios()
    ours, theirs = cost_of([system], timing), cost_of(replaced, timing)
    is_alike = is_one_machine([system, *replaced])
    return _Ratios(
        _ratio(ours.parameters, theirs.parameters),
        _ratio(ours.train_seconds, theirs.train_seconds) if is_alike else None,
        _ratio(ours.answer_seconds, theirs.answer_seconds),
    )


def _told(read: Callable[[RunCost], float | None]) -> Callable[[FinishedRun], float | None]:
    """What a run's scores.json tells of a cost. A 0 tells nothing: no training is for free."""

    def positive(run: FinishedRun) -> float | None:
        value = read(run.scores.cost)
        return value if value is not None and value > 0 else None

    return positive


def _on_disk(run: FinishedRun) -> float | None:
    return run.model_bytes or None


def _mean(system: System, read: Callable[[FinishedRun], float | None]) -> float | None:
    """Over seeds; None where a run does not tell."""
    values = [read(run) for run in system.runs]
    told = [value for value in values if value is not None]
    return statistics.fmean(told) if len(told) == len(values) else None


def _sum(values: Sequence[float | None]) -> float | None:
    told = [value for value in values if value is not None]
    return sum(told) if len(told) == len(values) else None


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _ratio(ours: float | None, theirs: float | None) -> float | None:
    return ours / theirs if ours is not None and theirs else None
