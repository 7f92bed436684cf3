"""From single requests to figures: when they are due, percentiles, medians, slopes."""

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from statistics import fmean, median

NO_ANSWER = 0
"""The status of a request whose connection broke, or that was given up."""
OK = (200,)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one request."""

    which: int
    """Its place among the requests that the client was given."""
    due_s: float
    """When it was to be sent, from the start of the interval."""
    latency_s: float
    """From then until its answer was read: what a late client or a full server costs, too."""
    status: int

    @property
    def ended_s(self) -> float:
        return self.due_s + self.latency_s


def poisson(rate: float, seconds: float, seed: int) -> list[float]:
    """When requests are due that come by themselves, `rate` a second on average, in order."""
    draw, due, now = random.Random(seed), list[float](), 0.0
    while (now := now + draw.expovariate(rate)) < seconds:
        due.append(now)
    return due


def regular(every_s: float, seconds: float) -> list[float]:
    """When requests are due that come one by one at equal distances."""
    return [place * every_s for place in range(math.ceil(seconds / every_s))]


def percentile(values: Sequence[float], share: float) -> float:
    """The lowest of the values that at least this share of them do not exceed; nan of none."""
    if not values:
        return math.nan
    return sorted(values)[max(1, math.ceil(share * len(values) - 1e-9)) - 1]


@dataclass(frozen=True, slots=True)
class Interval:
    """What one server did while it was asked."""

    answered: float
    """Requests, with status 200."""
    failed: float
    """All others."""
    per_s: float
    """Answered within the interval, per second of it."""
    cpu_ms: float
    """Of all its processes, per request."""
    front_cpu_ms: float
    """Of the process that was started, per request."""
    p50_ms: float
    p95_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Cpu:
    """Seconds of a server's processes: of the first, which hears the requests, and of its others.

    The whole is their sum, never a difference of its own: rounding cannot make it the lesser.
    """

    front: float
    others: float

    @property
    def whole(self) -> float:
        return self.front + self.others

    def since(self, before: "Cpu") -> "Cpu":
        return Cpu(self.front - before.front, self.others - before.others)


def interval(outcomes: Sequence[Outcome], lead_s: float, seconds: float, cpu: Cpu) -> Interval:
    """Figures of an interval of so many seconds, which began when there had been requests for
    `lead_s`: the server is then as busy as it will be.

    cpu: of all requests, those before the interval and those answered after it too.
    """
    good = [outcome for outcome in outcomes if outcome.status in OK]
    latency_ms = [1000 * outcome.latency_s for outcome in good if outcome.due_s >= lead_s]
    within = sum(lead_s < outcome.ended_s <= lead_s + seconds for outcome in good)
    each = 1000 / len(outcomes) if outcomes else math.nan
    return Interval(
        answered=len(good),
        failed=len(outcomes) - len(good),
        per_s=within / seconds,
        cpu_ms=cpu.whole * each,
        front_cpu_ms=cpu.front * each,
        p50_ms=percentile(latency_ms, 0.5),
        p95_ms=percentile(latency_ms, 0.95),
        p99_ms=percentile(latency_ms, 0.99),
    )


def medians(rounds: Sequence[Interval]) -> Interval:
    """The median of each figure, but all requests that were answered or failed."""
    found = {each.name: median(getattr(r, each.name) for r in rounds) for each in fields(Interval)}
    counts = {name: sum(getattr(r, name) for r in rounds) for name in ("answered", "failed")}
    return Interval(**(found | counts))


def statuses(outcomes: Sequence[Outcome]) -> dict[int, int]:
    """How many requests ended with each status."""
    return dict(sorted(Counter(outcome.status for outcome in outcomes).items()))


@dataclass(frozen=True, slots=True)
class Overload:
    """What a server makes of more than it can do."""

    rate: float
    """Requests a second that came."""
    capacity_per_s: float
    """That it can answer, when no more come."""
    goodput_per_s: float
    """Answered in time, per second of the interval."""
    over_capacity: float
    """Goodput as a share of what it can do."""
    p99_ms: float
    """Of the requests that it took."""
    statuses: dict[int, int]


def overload(
    outcomes: Sequence[Outcome], seconds: float, *, capacity: float, deadline_s: float
) -> Overload:
    """Figures of an interval in which more came than `capacity` requests a second.

    Counted is what was answered within the interval and within the deadline.
    """
    taken = [outcome for outcome in outcomes if outcome.status in OK]
    timely = [o for o in taken if o.ended_s <= seconds and o.latency_s <= deadline_s]
    goodput = len(timely) / seconds
    return Overload(
        rate=len(outcomes) / seconds,
        capacity_per_s=capacity,
        goodput_per_s=goodput,
        over_capacity=goodput / capacity,
        p99_ms=percentile([1000 * outcome.latency_s for outcome in taken], 0.99),
        statuses=statuses(outcomes),
    )


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the straight line that fits the points (x, y) best; nan where it has none."""
    if len({x for x, _ in points}) < 2:
        return math.nan
    x_mean, y_mean = fmean(x for x, _ in points), fmean(y for _, y in points)
    over = sum((x - x_mean) * (y - y_mean) for x, y in points)
    return over / sum((x - x_mean) ** 2 for x, _ in points)
