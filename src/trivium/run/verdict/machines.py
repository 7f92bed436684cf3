"""On what machine a run was trained, and how: whether seconds and memory of runs compare."""

from collections.abc import Sequence
from dataclasses import dataclass

from trivium.recipe import Recipe
from trivium.run.folder.finished import FinishedRun
from trivium.run.verdict.systems import System

UNEQUAL = 1.7
"""Times as many cores that one run may have had of another before that is said."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What else than a recipe decides how long training takes; None where a run does not tell."""

    cpu: str | None
    gpu: str | None
    """None as well where the run did not use it."""
    threads: int | None
    precision: str | None

    def __str__(self) -> str:
        threads = "" if self.threads is None else f"{self.threads} threads"
        parts = [self.gpu, self.cpu, threads, self.precision]
        return ", ".join(part for part in parts if part) or "not told"


def is_one_machine(systems: Sequence[System]) -> bool:
    """Whether all runs that tell of training were trained on the same, as far as they tell."""
    return len(_trained_on(systems)) <= 1


def note_of(systems: Sequence[System]) -> list[str]:
    """What people should know where machines differ."""
    machines = _trained_on(systems)
    if len(machines) <= 1:
        return []
    lines = "; ".join(f"{', '.join(names)} ({machine})" for machine, names in machines.items())
    return [
        f"Machine, threads or precision of training differ: {lines}. Across them seconds of "
        "training and peak memory do not compare, and no share or sum of them is told."
    ]


def busy_note(systems: Sequence[System]) -> list[str]:
    """What people should know where some runs had far more of the processor than others."""
    busy: dict[str, list[float]] = {}
    for system in systems:
        for run in system.runs:
            cost = run.scores.cost
            if cost.seconds and cost.cpu_seconds:
                busy.setdefault(system.name, []).append(cost.cpu_seconds / cost.seconds)
    every = [cores for each in busy.values() for cores in each]
    if not every or not is_one_machine(systems) or max(every) <= UNEQUAL * min(every):
        return []
    shown = "; ".join(f"{name} {_span(each)}" for name, each in busy.items())
    return [
        f"Runs kept unequal numbers of cores busy ({shown}): as other programs ran beside some of "
        "them, most likely, their seconds of training do not compare."
    ]


def earlier_note(systems: Sequence[System]) -> list[str]:
    """What people should know where a system goes on from models whose training is not its own."""
    names = [system.name for system in systems if any(_goes_on(run.recipe) for run in system.runs)]
    if not names or len(systems) < 2:
        return []
    return [
        f"{', '.join(names)}: seconds of training are of their own stages; the models that they "
        "start from or learn from took theirs before."
    ]


def _goes_on(recipe: Recipe) -> bool:
    parts = [part for stage in recipe.stages for part in stage.regularizers]
    return recipe.start is not None or any(part.teaching is not None for part in parts)


def _span(values: Sequence[float]) -> str:
    least, most = f"{min(values):.1f}", f"{max(values):.1f}"
    return least if least == most else f"{least} to {most}"


def _trained_on(systems: Sequence[System]) -> dict[Machine, list[str]]:
    """Machines, each with the names of the systems that were trained there."""
    machines: dict[Machine, dict[str, None]] = {}
    for system in systems:
        for run in system.runs:
            # An ensemble is not trained: its environment is that of its making.
            if run.scores.cost.seconds:
                machines.setdefault(_machine_of(run), {})[system.name] = None
    return {machine: list(names) for machine, names in machines.items()}


def _machine_of(run: FinishedRun) -> Machine:
    made = run.environment
    gpu = made.gpu if run.recipe.device != "cpu" else None
    return Machine(made.cpu, gpu, made.threads, run.scores.precision or None)
