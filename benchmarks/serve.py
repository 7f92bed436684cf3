"""`trivium serve` beside its peers: CPU per request, requests per second, latencies; then too much
at once, and requests that bring the computation down."""

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import goals, measure
from benchmarks.serving import models, peers, programs, shown
from benchmarks.serving.field import Field, Load, agreement, started
from benchmarks.serving.figures import Interval, medians
from benchmarks.serving.processes import Client, Program, Server, imports
from benchmarks.serving.trials import Poisoned, deadline_of, overloaded, poisoned
from trivium.run.assembly.machine import cpu_name

HALF = 0.5
"""Of what a server can do comes in an open loop."""
OVERLOAD_S = 20.0
"""Long enough for the queue to fill: only then is anything refused."""
POISON_S = 6.0
LEAST_ALIKE = 0.9
"""Share of labels: bf16 may turn those that are nearly even."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long everything takes."""

    seconds: float
    """Of an interval."""
    rounds: int
    overload_s: float
    poison_s: float


QUICK = Plan(seconds=0.6, rounds=1, overload_s=2.0, poison_s=2.0)


def main() -> None:
    given = _given()
    say = measure.teller(given)
    plan = QUICK if given.quick else Plan(given.seconds, given.rounds, OVERLOAD_S, POISON_S)
    texts = models.sentences(given.data)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = models.make_run(folder / "run")
        folders = programs.Folders(run, peers.make_peers(run, folder / "peers"))
        wanted = _wanted(given, programs.programs(folders, given.workers, given.litserve_python))
        bench = Bench(given, plan, texts, folder)
        reached = bench.side_by_side(wanted)
        reached += bench.poison(models.make_poisonable(run, folder / "poison"))
    say(f"\n{goals.table(reached)}")
    ratios = {goal.what: round(goal.found, 3) for goal in reached}
    facts = {
        "workers": given.workers,
        "apart": given.apart,
        "cpu": cpu_name(),
        **asdict(plan),
        **measure.machine(),
    }
    if given.json:
        text = json.dumps({"goals": ratios, **bench.figures, **facts}, indent=2)
        given.json.write_text(f"{text}\n", encoding="utf-8")
    measure.last_line(ratios | facts)


def _given() -> argparse.Namespace:
    parser = measure.options(__doc__)
    parser.add_argument("--workers", type=measure.positive, help="that compute; one per core")
    apart = "servers on the first half of the cores, the client on the others"
    parser.add_argument("--apart", action="store_true", help=apart)
    parser.add_argument("--connections", type=measure.positive, default=32, help="closed loop")
    parser.add_argument("--seconds", type=float, default=3.0, help="of an interval")
    parser.add_argument("--rounds", type=measure.positive, default=3)
    help_python = "interpreter of the peers, with litserve, transformers and fastapi"
    parser.add_argument("--litserve-python", default=sys.executable, help=help_python)
    parser.add_argument("--servers", nargs="+", choices=programs.NAMES, help="only these")
    parser.add_argument("--quick", action="store_true", help="short: only to see whether it works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all figures")
    given = parser.parse_args()
    cores, half = programs.cores(), len(programs.cores()) // 2
    if given.apart and not half:
        parser.error("--apart: one core cannot be shared out")
    given.servers_on, given.client_on = (cores[:half], cores[half:]) if given.apart else ((), ())
    given.workers = given.workers or len(given.servers_on or cores)
    return given


def _wanted(given: argparse.Namespace, found: dict[str, Program]) -> list[Program]:
    """The servers to be measured. Says what is left out, as its packages are not there."""
    chosen = given.servers or (programs.QUICK if given.quick else programs.NAMES)
    names = [name for name in chosen if name in found]
    say, missing = measure.teller(given), dict[str, str]()
    for kind, packages in programs.NEEDED.items():
        if any(name.startswith(kind) for name in names):
            lacks = imports(given.litserve_python, packages)
            missing |= {kind: "; ".join(lacks.values())} if lacks else {}
    for kind, why in missing.items():
        say(f"left out: {kind}*, as {given.litserve_python} says: {why}")
    return [found[name] for name in names if not name.startswith(tuple(missing))]


class Bench:
    """The measurements, one after the other; `figures` is all that was found."""

    def __init__(
        self, given: argparse.Namespace, plan: Plan, texts: list[str], folder: Path
    ) -> None:
        self.given, self.plan, self.texts, self.folder = given, plan, texts, folder
        self.say = measure.teller(given)
        self.figures: dict[str, Any] = {}

    def side_by_side(self, wanted: list[Program]) -> list[goals.Goal]:
        """All servers in turn, then too much for ours."""
        with ExitStack() as held:
            servers = started(wanted, self.folder, held, self.say, self.given.servers_on)
            if not servers:
                raise SystemExit("no server could be started")
            self._compare(servers)
            client = held.enter_context(Client(self.given.client_on))
            field = Field(servers, client, self.folder)
            self.figures["idle"] = field.prepare(self.texts)
            self.figures["mib"] = {n: round(sum(s.rss_mib().values())) for n, s in servers.items()}
            for name, idle in self.figures["idle"].items():
                note = ", paused while others are asked" if name in field.restless else ""
                mib = self.figures["mib"][name]
                self.say(f"{name}: {mib:,} MiB, {idle:.1%} of a core when nobody asks{note}")
            closed = self._closed(field, self.given.connections)
            alone = self._closed(field, 1)
            arrived = self._open(field, closed)
            if programs.OURS not in servers:
                return []
            return shown.goals(closed, alone, arrived) + self._overload(field)

    def _compare(self, servers: dict[str, Server]) -> None:
        alike = agreement(servers, self.texts)
        self.figures["alike"] = alike
        for name, share in alike.items():
            if share < LEAST_ALIKE:
                raise SystemExit(
                    f"{name} gives only {share:.0%} of the labels that {next(iter(alike))} gives"
                )
        self.say(f"all answer alike: at least {min(alike.values()):.1%} of labels are equal")

    def _closed(self, field: Field, connections: int) -> dict[str, Interval]:
        load = Load(self.plan.seconds, connections=connections)
        title = f"closed loop, {connections} connection{'s' * (connections > 1)}"
        return self._measure(field, dict.fromkeys(field.servers, load), title)

    def _open(self, field: Field, closed: dict[str, Interval]) -> dict[str, Interval]:
        """At half of what each can do; ours and those with its engine at the same rate."""
        same = [n for n in (programs.OURS, *programs.SAME_ENGINE) if n in closed]
        rates = {name: HALF * each.per_s for name, each in closed.items()}
        rates |= dict.fromkeys(same, min((rates[name] for name in same), default=0.0))
        self.figures["open rates"] = rates
        loads = {name: Load(self.plan.seconds, rate=rate) for name, rate in rates.items()}
        told = ", ".join(f"{name} {rate:.0f}/s" for name, rate in rates.items())
        return self._measure(field, loads, f"open loop: {told}")

    def _measure(self, field: Field, loads: dict[str, Load], title: str) -> dict[str, Interval]:
        self.say(f"\n{title}")
        rounds = field.in_turn(loads, self.plan.rounds, self.say)
        found = {name: medians(each) for name, each in rounds.items()}
        self.figures[title.partition(":")[0]] = {
            name: {"median": asdict(found[name]), "rounds": [asdict(one) for one in each]}
            for name, each in rounds.items()
        }
        self.say(f"\n{shown.table(found)}")
        return found

    def _overload(self, field: Field) -> list[goals.Goal]:
        deadline_s = deadline_of(field.servers[programs.OURS])
        load = Load(self.plan.seconds, connections=self.given.connections)
        found = overloaded(field, load, self.plan.overload_s, deadline_s)
        self.figures["overload"] = asdict(found)
        self.say(
            f"\noverload: {found.rate:.0f} requests/s came where {found.capacity_per_s:.0f} can be "
            f"answered; {found.goodput_per_s:.0f} were. By status: {found.statuses}"
        )
        return shown.overload_goals(found, deadline_s)

    def poison(self, run: Path) -> list[goals.Goal]:
        """Ours and LitServe with our engine, each alone."""
        folders = programs.Folders(run, run)
        all_programs = programs.programs(folders, self.given.workers, self.given.litserve_python)
        names = ("ours", "lit_ours")
        wanted = _wanted(self.given, {name: all_programs[name] for name in names})
        found: dict[str, Poisoned] = {}
        for program in wanted:
            with ExitStack() as held:
                for server in started([program], self.folder, held, self.say).values():
                    found[program.name] = poisoned(
                        server, self.texts, self.folder, self.plan.poison_s
                    )
        self.figures["poison"] = {name: asdict(each) for name, each in found.items()}
        if found:
            self.say(f"\npoison every 50 ms\n{shown.poison_table(found)}")
        return shown.poison_goals(found)


if __name__ == "__main__":
    main()
