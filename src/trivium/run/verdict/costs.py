"""What systems cost: training, memory, size, and the time to answer."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from trivium.run.finished import FinishedRun
from trivium.run.verdict.answering import Timing
from trivium.run.verdict.data import Comparison, Cost, Summary
from trivium.run.verdict.systems import System
from trivium.run.verdict.words import summed_up

TOGETHER = "single-task models together"


def costs_of(
    systems: Sequence[System], baselines: dict[str, System], timing: Timing | None
) -> list[Cost]:
    """A line per system, with single-task models that others stand against added up at the end."""
    lines = [cost_of([system], timing) for system in systems]
    sums: dict[str, Cost] = {}
    for system in systems:
        singles = replaced_by(system, baselines)
        if len(singles) > 1 and all(single.single for single in singles):
            line = cost_of(singles, timing)
            sums.setdefault(line.name, line)
    return lines + list(sums.values())


def replaced_by(system: System, baselines: dict[str, System]) -> list[System]:
    """The systems that stand against all its tasks; none where it is a baseline itself."""
    found = {id(baselines[name]): baselines[name] for name in system.tasks if name in baselines}
    is_whole = all(name in baselines for name in system.tasks) and id(system) not in found
    return list(found.values()) if is_whole else []


def cost_of(systems: Sequence[System], timing: Timing | None) -> Cost:
    """Of one system; or of several for a task each, which take turns."""
    tasks = list(dict.fromkeys(name for system in systems for name in system.tasks))
    peaks = [_mean(system, _told("peak_memory_bytes")) for system in systems]
    seconds = timing.seconds([system.name for system in systems]) if timing else None
    held = timing.held([system.name for system in systems]) if timing else None
    rows = timing.rows if timing and seconds is not None else None
    known = [peak for peak in peaks if peak is not None]
    return Cost(
        name=systems[0].name if len(systems) == 1 else f"{TOGETHER}: {', '.join(tasks)}",
        tasks=tasks,
        models=len(systems),
        train_seconds=_sum([_mean(system, _told("seconds")) for system in systems]),
        peak_bytes=round(max(known)) if len(known) == len(peaks) else None,
        parameters=_whole(_sum([_mean(system, _told("parameters")) for system in systems])),
        disk_bytes=_whole(_sum([_mean(system, _on_disk) for system in systems])),
        answer_seconds=seconds,
        timed_rows=rows,
        rows_per_s=rows * len(tasks) / seconds if rows and seconds else None,
        held_bytes=held,
    )


def summary_of(
    system: System,
    singles: Sequence[System],
    compared: Sequence[Comparison],
    timing: Timing | None,
) -> Summary:
    """compared: the system's comparisons on single tasks."""
    others = list(dict.fromkeys(comparison.baseline for comparison in compared))
    better = [c.task for c in compared if c.outcome == "better"]
    worse = [c.task for c in compared if c.outcome == "worse"]
    tasks = [c.task for c in compared]
    sharing = all(comparison.is_sharing for comparison in compared)
    ratios = _Ratios()
    if singles:
        own, theirs = cost_of([system], timing), cost_of(singles, timing)
        ratios = _Ratios(
            _ratio(own.parameters, theirs.parameters),
            _ratio(own.train_seconds, theirs.train_seconds),
            _ratio(own.answer_seconds, theirs.answer_seconds),
        )
    return Summary(
        system=system.name,
        baselines=others,
        is_sharing=sharing,
        at_least_as_good=[task for task in tasks if task not in worse],
        better=better,
        worse=worse,
        tasks=len(tasks),
        parameters=ratios.parameters,
        train_seconds=ratios.train_seconds,
        answer_seconds=ratios.answer_seconds,
        sentence=summed_up(
            system.name,
            others,
            (tasks, better, worse),
            (ratios.parameters, ratios.train_seconds, ratios.answer_seconds),
            is_sharing=sharing,
        ),
    )


@dataclass(frozen=True, slots=True)
class _Ratios:
    parameters: float | None = None
    train_seconds: float | None = None
    answer_seconds: float | None = None


def _told(key: str) -> Callable[[FinishedRun], float | None]:
    def read(run: FinishedRun) -> float | None:
        cost: dict[str, Any] = run.scores.get("cost") or {}
        value = cost.get(key)
        return value if isinstance(value, int | float) and value > 0 else None

    return read


def _on_disk(run: FinishedRun) -> float | None:
    return run.model_bytes or None


def _mean(system: System, read: Callable[[FinishedRun], float | None]) -> float | None:
    """Over seeds; None where a run does not tell."""
    values = [read(run) for run in system.runs]
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if len(known) == len(values) else None


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _ratio(own: float | None, other: float | None) -> float | None:
    return own / other if own is not None and other else None
