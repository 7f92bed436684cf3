"""`trivium serve` at half of what it can do, for minutes: does its memory grow, does any request
fail?"""

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import measure
from benchmarks.serving import memory, models, programs
from benchmarks.serving.client import Job
from benchmarks.serving.figures import NO_ANSWER, Outcome, percentile, poisson
from benchmarks.serving.memory import Sample
from benchmarks.serving.mixture import Case, failures, mixture
from benchmarks.serving.processes import Client, Failed, Server
from benchmarks.serving.wire import write_asks

REQUESTS = 2_000
"""Different ones, which come again and again."""
CAPACITY_S = 6.0
SHARE = 0.5
"""Of its capacity."""
SETTLED_S = 60.0
"""After which memory may grow no more: every length of text has come by then."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Soaked:
    """All that was seen."""

    rate: float
    samples: Sequence[Sample]
    outcomes: Sequence[Outcome]


def main() -> None:
    given = _given()
    say = measure.teller(given)
    cases = mixture(models.sentences(given.data), REQUESTS, seed=0)
    with tempfile.TemporaryDirectory() as name:
        found = _soak(given, cases, Path(name), say)
    bad = failures(found.outcomes, cases)
    slopes = memory.slopes(found.samples, SETTLED_S)
    latency_ms = [1000 * each.latency_s for each in found.outcomes if each.status != NO_ANSWER]
    shares = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99}
    times = {name: round(percentile(latency_ms, share), 1) for name, share in shares.items()}
    new = memory.replaced(found.samples)
    say(f"\n{memory.table(found.samples, slopes)}\n\n{len(found.outcomes):,} requests, {times}")
    for line in _told(bad, cases):
        say(line)
    say(memory.verdict(slopes, len(bad), new))
    measure.last_line(
        {
            "mib_per_minute": [round(each, 3) for each in slopes.values()],
            "failed": len(bad),
            "replaced": new,
            "requests": len(found.outcomes),
            "rate": round(found.rate, 1),
            **times,
            "minutes": given.minutes,
            "workers": given.workers,
            **measure.machine(),
        }
    )


def _given() -> argparse.Namespace:
    parser = measure.options(__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--every", type=float, default=10.0, help="seconds between two looks")
    help_rate = "requests a second (default: half of what it can do, measured before)"
    parser.add_argument("--rate", type=float, help=help_rate)
    parser.add_argument("--workers", type=measure.positive, default=len(programs.cores()))
    return parser.parse_args()


def _soak(given: argparse.Namespace, cases: Sequence[Case], folder: Path, say: Say) -> Soaked:
    """Start the server, ask it all the time, and look at its memory meanwhile."""
    seconds = 60 * given.minutes
    run = models.make_run(folder / "run")
    asks = str(write_asks([case.ask for case in cases], folder / "asks.json"))
    with ExitStack() as held:
        server = held.enter_context(Server(programs.ours(run, given.workers), folder))
        try:
            server.wait_until_ready()
        except Failed as failed:
            raise SystemExit(str(failed)) from failed
        client = held.enter_context(Client())
        rate = given.rate or SHARE * _capacity(server, client, asks)
        say(f"{rate:.1f} requests/s for {given.minutes:g} minutes, {given.workers} workers")
        due = tuple(poisson(rate, seconds, seed=1))
        client.start(Job(server.port, asks, seconds, due=due))
        return Soaked(rate, _watch(server, seconds, given.every, say), client.outcomes())


def _capacity(server: Server, client: Client, asks: str) -> float:
    """Requests a second of this very mixture, when clients wait for their answers."""
    client.run(Job(server.port, asks, CAPACITY_S / 2, connections=16))
    outcomes = client.run(Job(server.port, asks, CAPACITY_S, connections=16))
    return len(outcomes) / max(outcome.ended_s for outcome in outcomes)


def _watch(server: Server, seconds: float, every_s: float, say: Say) -> list[Sample]:
    """Look at the memory every now and then, until the time is over."""
    began, samples = time.monotonic(), list[Sample]()
    while (second := time.monotonic() - began) < seconds:
        samples.append(Sample(second, server.rss_mib()))
        sizes = ", ".join(f"{mib:.1f}" for mib in samples[-1].mib.values())
        say(f"{second:6.0f} s: {sizes} MiB")
        time.sleep(max(0.0, min(every_s, seconds - second)))
    return samples


def _told(bad: Sequence[Outcome], cases: Sequence[Case]) -> list[str]:
    """Of what failed: the status, and the beginning of what was sent."""
    counts = Counter((outcome.status, outcome.which) for outcome in bad)
    return [
        f"{number} x status {status} for {cases[which].ask.body[:100]!r}"
        for (status, which), number in counts.most_common(10)
    ]


if __name__ == "__main__":
    main()
