"""Several runs against one another: the verdict, drawn and in words."""

from collections.abc import Callable, Sequence
from statistics import fmean, stdev

from trivium.apps.report.figure import Panel, Section, Table
from trivium.apps.report.forest import forest
from trivium.apps.report.headline import MEANS, NOTHING, score
from trivium.apps.report.runs import SPLIT, ReportedRun
from trivium.errors import RecipeError
from trivium.run.folder.finished import FinishedRun
from trivium.run.folder.scores import Mean
from trivium.run.screen.grid import MINILM
from trivium.run.verdict.facts import Verdict
from trivium.run.verdict.forest import ranked
from trivium.run.verdict.sentences import shown_p, signed
from trivium.run.verdict.systems import System, systems_of
from trivium.run.verdict.tables import lines_of
from trivium.run.verdict.verdict import verdict


def comparison(runs: Sequence[ReportedRun]) -> Section:
    section = Section(
        "verdict",
        "Verdict",
        "What one system gains or loses against its baseline, in points (hundredths of a score), "
        "with the 95 % interval of the difference. Right of 0 it is better, left of it worse; an "
        "interval that holds 0 may be noise, and its dot is hollow. A hollow diamond is "
        "beyond noise by its own interval only, not after Holm's correction over the system's "
        "tasks.",
    )
    finished = [run.run for run in runs]
    section.panels.extend(_means(finished))
    try:
        result = verdict(finished)
    except RecipeError as error:
        section.notes.append(f"No verdict: {error}")
        return section
    section.panels.append(
        Panel("In words", template="sentences.html.j2", values=lines_of(result), wide=True)
    )
    if result.comparisons:
        section.panels.append(Panel("Differences", figure=forest(result), wide=True))
        section.panels.append(Panel("In numbers", table=_differences(result), wide=True))
    section.notes.extend(note for note in result.notes if note != MINILM)  # stands at the scores
    return section


def _differences(result: Verdict) -> Table:
    rows = [
        [
            c.task,
            c.system,
            c.baseline,
            c.metric,
            f"{100 * c.before:.1f}",
            f"{100 * c.after:.1f}",
            signed(c.difference),
            f"{signed(c.low)} to {signed(c.high)}",
            shown_p(c.p),
            NOTHING if c.tests == 1 else f"{c.corrected} ({shown_p(c.adjusted_p)})",
            ", ".join(f"{seed}: {signed(value)}" for seed, value in c.by_seed.items()) or NOTHING,
        ]
        for c in ranked(result.comparisons)
    ]
    interval = f"{100 * result.level:.0f} % interval"
    heads = ["task", "system", "baseline", "metric", "before", "after", "difference", interval]
    return Table([*heads, "p", "after Holm", "by seed"], rows, wordy=4)


# --- several seeds -----------------------------------------------------------------------------


def _means(runs: Sequence[FinishedRun]) -> list[Panel]:
    """A table of means over seeds, if some recipe was trained with several."""
    try:
        systems, _ = systems_of(runs)
    except RecipeError:  # which the verdict will tell
        return []
    if all(len(system.runs) < 2 for system in systems):
        return []
    names = dict.fromkeys(name for system in systems for name in system.tasks)
    metrics = {n: s.tasks[n].metric for n in names for s in systems if n in s.tasks}
    columns: dict[str, Callable[[FinishedRun], float | None]] = {
        f"{name} {metric}": _of_task(name, metric) for name, metric in metrics.items()
    }
    columns |= {f"overall {kind}": _overall(kind) for kind in MEANS}
    rows = [
        [system.name, _seeds(system), *(_mean(find, system) for find in columns.values())]
        for system in systems
    ]
    note = (
        "Mean ± sample standard deviation over runs that differ in nothing but the seed, the "
        "device and the folder of data."
    )
    return [Panel("Over seeds", note, table=Table(["system", "seeds", *columns], rows), wide=True)]


def _of_task(name: str, metric: str) -> Callable[[FinishedRun], float | None]:
    return lambda run: run.scores.metric(name, SPLIT, metric)


def _overall(kind: Mean) -> Callable[[FinishedRun], float | None]:
    return lambda run: run.scores.overall_of(SPLIT, kind)


def _seeds(system: System) -> str:
    return ", ".join(NOTHING if seed is None else str(seed) for seed in system.seeds)


def _mean(find: Callable[[FinishedRun], float | None], system: System) -> str:
    values = [value for run in system.runs if (value := find(run)) is not None]
    if not values:
        return NOTHING
    spread = f" ± {score(stdev(values))}" if len(values) > 1 else ""
    return f"{score(fmean(values))}{spread}"
