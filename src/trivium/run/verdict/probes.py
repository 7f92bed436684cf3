"""What a verdict says of the scores that its systems' tasks had before training."""

from collections.abc import Iterator, Sequence

from trivium.run.folder.below import start_notes
from trivium.run.verdict.systems import System


def probe_notes(systems: Sequence[System]) -> list[str]:
    """A line per system whose runs know; before them one for each run that training left as it
    was, and for each of its tasks that is below its probe on the rows that are compared."""
    shown = [line for system in systems for line in _beside(system)]
    low = [
        f"{run.folder}: {line}"
        for system in systems
        for run in system.runs
        for line in start_notes(run.recipe, run.scores, system.split)
    ]
    return low + shown


def _beside(system: System) -> Iterator[str]:
    """Seeds share one encoder and one table, so that the first run's baselines are all runs'.
    Nothing of tasks whose probes were not judged on the rows that are compared."""
    scores = system.runs[0].scores
    each = []
    for name, known in scores.baselines.items():
        probe = known.probe.scores.get(system.split, {}).get(known.metric)
        usual = known.majority.get(system.split, {}).get(known.metric)
        if name in system.answers and probe is not None and usual is not None:
            each.append(f"{name} {known.metric} {probe:.4f} ({usual:.4f})")
    if each:
        yield (
            f"{system.name}: a linear probe on its encoder before training (and always the usual "
            f"answer) has {', '.join(each)}."
        )
