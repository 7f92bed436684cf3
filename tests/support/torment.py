"""A training that is ended again and again, and gone on with, until it is finished."""

import json
import random
import re
import shutil
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.support.facts import facts
from tests.support.mortal import End, Lived, Mortals
from trivium.digest import sha256
from trivium.run.folder.names import RECIPE, RESUME, SCORES, STATE
from trivium.run.folder.sealed import unseal

YEARS_S = 3 * 365 * 24 * 3600
FOR_PEOPLE = "README.md"
"""A model's card tells how long it took."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A training that nothing disturbed."""

    recipe: Path
    processes: int
    content: dict[str, Any]
    calls: int
    """That changed its folder."""
    lasts_us: int


@dataclass(slots=True)
class Tally:
    """What a chain of tries came to."""

    killed: Counter[str] = field(default_factory=Counter)
    """How."""
    finished: int = 0
    resumed: int = 0
    """Tries that began from a checkpoint."""
    checkpoints: int = 0
    """Seen after a kill, each of them whole."""
    trace: list[str] = field(default_factory=list)
    """What happened, for who has to find out why."""

    def __str__(self) -> str:
        ways = ", ".join(f"{count} {how}" for how, count in sorted(self.killed.items()))
        return (
            f"{self.killed.total()} kills ({ways}), {self.resumed} resumed from a checkpoint, "
            f"{self.finished} runs finished, {self.checkpoints} checkpoints found whole"
        )


def content(run: Path) -> dict[str, Any]:
    """All of a finished run that does not depend on the clock, to the byte."""
    files = [
        path
        for home in ("model", "predictions", "teachers")
        for path in sorted((run / home).rglob("*"))
        if path.is_file() and path.name != FOR_PEOPLE
    ]
    files += [run / "data.json", run / RECIPE]
    return facts(run) | {str(path.relative_to(run)): sha256(path) for path in files}


def drawn_end(chance: random.Random, whole: Whole) -> End:
    """Any moment: between two calls that change the folder, or within one; or by the clock.

    Early ones are likelier: so a training dies often before it is finished.
    """
    if chance.random() < 0.35:
        after_us = 1 + int(chance.random() ** 3 * whole.lasts_us)
        rank = chance.choice([None, *range(whole.processes)])
        return End(after_us=after_us, rank=rank)
    nth = int(chance.random() ** 3 * whole.calls)
    torn, power = chance.random() < 0.5, chance.random() < 0.5
    return End(nth=nth, torn=torn and not power, power=power)


def how(end: End) -> str:
    if end.after_us is not None:
        return "by the clock"
    return "with the power" if end.power else "in half a write" if end.torn else "between writes"


def tormented(disk: Mortals, whole: Whole, run: Path, chance: random.Random, most: int) -> Tally:
    """Train into `run`, killed `most` times at most, until it is finished; then compare."""
    tally = Tally()
    shutil.rmtree(run, ignore_errors=True)
    reached = (0, 0)
    while True:
        end = drawn_end(chance, whole) if tally.killed.total() < most else End()
        before, clock_s = newest(run), chance.randint(-YEARS_S, YEARS_S)
        lived = trained(disk, whole, run, end, clock_s)
        tally.trace.append(f"{end}, clock {clock_s}: {lived.codes}, {lived.said[-400:]}")
        _check_resumed(lived, before, tally)
        if not any(lived.codes):
            break
        assert -9 in lived.codes, tally.trace
        # A process whose peer has died may end by itself before it is ended.
        assert set(lived.codes) <= ({-9} if whole.processes == 1 else {-9, 99, 0}), tally.trace
        tally.killed[how(end)] += 1
        reached = _check_checkpoints(run, reached, tally)
    tally.finished += 1
    assert unlike(run, whole) == [], tally.trace
    return tally


def trained(
    disk: Mortals,
    whole: Whole,
    run: Path,
    end: End = End(),
    clock_s: int = 0,
) -> Lived:
    """One try: begun, or gone on with."""
    resumes = ["--resume"] if (run / RECIPE).is_file() else []
    command = ["train", str(whole.recipe), "--out", str(run), *resumes]
    return disk.run(command, end, processes=whole.processes, clock_s=clock_s)


def unlike(run: Path, whole: Whole) -> list[str]:
    """What of a finished run is not as it should be, and what should not be there."""
    found = content(run)
    other = [key for key in {**whole.content, **found} if found.get(key) != whole.content.get(key)]
    left = [*run.rglob(".*"), *run.parent.glob(".*"), *run.glob(RESUME)]
    return [*other, *map(str, left)]


def newest(run: Path) -> dict[str, Any] | None:
    """What the newest checkpoint tells; every one that has its name must be whole."""
    homes = sorted((run / RESUME).glob("[0-9]*")) if run.is_dir() else []
    told = [unseal(home, STATE) for home in homes]
    return told[-1]["counters"] if told else None


def _check_resumed(lived: Lived, before: dict[str, Any] | None, tally: Tally) -> None:
    """It went on from the newest checkpoint, if it came that far."""
    found = re.search(r"resumed at stage (\S+), step (\d+)", lived.said)
    if before is None:
        assert not found, tally.trace
    elif found:
        assert int(found[2]) == before["step"], tally.trace
        tally.resumed += 1


def _check_checkpoints(run: Path, reached: tuple[int, int], tally: Tally) -> tuple[int, int]:
    """How far the newest checkpoint is: never less far than the newest one was before."""
    counters = newest(run)
    if counters is None:
        assert reached == (0, 0) or (run / SCORES).is_file(), tally.trace
        return reached
    tally.checkpoints += len(list((run / RESUME).glob("[0-9]*")))
    now = (counters["stage"], counters["step"])
    assert now >= reached, tally.trace
    return now


def undisturbed(disk: Mortals, recipe: Path, run: Path, processes: int = 1) -> Whole:
    """A run in one piece, timed by its own journal's count of it."""
    lived = disk.run(["train", recipe, "--out", run], processes=processes)
    assert not any(lived.codes), lived.said
    seconds = json.loads((run / SCORES).read_text())["cost"]["seconds"]
    # Beside its steps a run reads, judges and writes.
    whole = Whole(recipe, processes, content(run), lived.calls, int(seconds * 1e6))
    return replace(whole, lasts_us=2 * whole.lasts_us + 300_000)
