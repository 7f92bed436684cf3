"""Tables of what was measured, and what was to be reached."""

import math
from collections.abc import Callable, Mapping, Sequence

from benchmarks.goals import Goal, at_most, measured
from benchmarks.serving import programs
from benchmarks.serving.figures import Interval, Overload
from benchmarks.serving.trials import Poisoned
from trivium.run.screen.grid import markdown_table

Intervals = Mapping[str, Interval]
"""The medians of each server."""
_HEAD = ("server", "requests/s", "CPU ms", "front ms", "p50 ms", "p95 ms", "p99 ms", "failed")


def table(found: Intervals) -> str:
    """One line per server."""
    lines = [
        (
            name, f"{each.per_s:.1f}", f"{each.cpu_ms:.2f}", f"{each.front_cpu_ms:.2f}",
            f"{each.p50_ms:.1f}", f"{each.p95_ms:.1f}", f"{each.p99_ms:.1f}", f"{each.failed:.0f}",
        )
        for name, each in found.items()
    ]  # fmt: skip
    return markdown_table(_HEAD, lines)


def strongest(
    found: Intervals, names: Sequence[str], figure: Callable[[Interval], float], *, most: bool
) -> float:
    """The best value of a figure among the servers of one kind; nan where none was measured.

    most: whether more is better.
    """
    values = [figure(found[name]) for name in names if name in found]
    values = [value for value in values if not math.isnan(value)]
    return (max if most else min)(values, default=math.nan)


def goals(closed: Intervals, alone: Intervals, arrived: Intervals) -> list[Goal]:
    """closed: many clients in a closed loop. alone: one client. arrived: an open loop, in which
    ours and those with the same engine had the same rate."""
    ours = closed[programs.OURS]
    same, bf16, pipes = programs.SAME_ENGINE, programs.LIT_BF16, tuple(programs.PIPELINES)
    found = [
        Goal(
            "CPU of LitServe with three bf16 models over ours", 4.5,
            strongest(closed, bf16, _cpu, most=False) / ours.cpu_ms,
        ),
        Goal(
            "CPU of three pipelines behind FastAPI over ours", 12.0,
            strongest(closed, pipes, _cpu, most=False) / ours.cpu_ms,
        ),
        Goal(
            "requests/s over LitServe with the same engine", 1.0,
            ours.per_s / strongest(closed, same, _per_s, most=True),
        ),
    ]  # fmt: skip
    for what, each in (("many clients", closed), ("one client", alone), ("open loop", arrived)):
        theirs = strongest(each, same, _p50, most=False)
        name = f"p50 of LitServe with the same engine over ours, {what}"
        found.append(Goal(name, 1.0, theirs / each[programs.OURS].p50_ms))
    found.append(at_most("front process, CPU ms a request", 0.7, ours.front_cpu_ms))
    return measured(found)


def overload_goals(found: Overload, deadline_s: float) -> list[Goal]:
    others = sum(number for status, number in found.statuses.items() if status not in (200, 429))
    return [
        Goal("overload: goodput over capacity", 0.9, found.over_capacity),
        at_most("overload: p99 of taken requests, s", deadline_s, found.p99_ms / 1000),
        at_most("overload: neither answered nor refused with 429", 0.0, others),
    ]


def poison_goals(found: Mapping[str, Poisoned]) -> list[Goal]:
    if programs.OURS not in found:
        return []
    ours = found[programs.OURS]
    failed = ours.failed if ours.answered else math.nan  # nothing asked is nothing shown
    return [
        at_most("poison: good requests that failed", 0.0, failed),
        at_most("poison: good rows beside it that failed", 0.0, ours.rows_failed),
    ]


def poison_table(found: Mapping[str, Poisoned]) -> str:
    """One line per server."""
    lines = [
        (
            name, f"{each.answered}", f"{each.failed}",
            f"{each.failed / max(1, each.answered + each.failed):.1%}", f"{each.p99_ms:.1f}",
            ", ".join(f"{number} x {status}" for status, number in each.poison.items()),
        )
        for name, each in found.items()
    ]  # fmt: skip
    head = ("server", "answered", "failed", "share", "p99 ms", "the poisoned were answered")
    return markdown_table(head, lines, left=(0, 5))


def _cpu(each: Interval) -> float:
    return each.cpu_ms


def _per_s(each: Interval) -> float:
    return each.per_s


def _p50(each: Interval) -> float:
    return each.p50_ms
