"""From runs to a verdict."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from trivium.errors import RecipeError
from trivium.run.folder.decisions import decisions_in
from trivium.run.folder.finished import FinishedRun
from trivium.run.folder.names import MANIFEST, MODEL
from trivium.run.rows.splits import JUDGED
from trivium.run.screen.grid import MINILM
from trivium.run.verdict.answering import time_answers
from trivium.run.verdict.bootstrap import LEVEL, RESAMPLES
from trivium.run.verdict.comparisons import baselines_of, compare_all
from trivium.run.verdict.costs import costs_of, one_passes, replaced_by, summary_of
from trivium.run.verdict.differing import FEWEST, least_p
from trivium.run.verdict.facts import OVERALL, Comparison, Verdict
from trivium.run.verdict.holm import correction_notes
from trivium.run.verdict.machines import busy_note, earlier_note, note_of
from trivium.run.verdict.probes import probe_notes
from trivium.run.verdict.sentences import shown_p
from trivium.run.verdict.systems import SPLIT, System, systems_of

FEWEST_RESAMPLES = 100


def verdict(
    runs: Sequence[str | Path | FinishedRun],
    *,
    split: str = SPLIT,
    resamples: int = RESAMPLES,
    time: bool = False,
    device: str = "auto",
    console: Console | None = None,
) -> Verdict:
    """Compare finished runs on their answers. Writes nothing; the same runs, the same verdict.

    split: dev, or test of runs whose recipes name test files; look there once, when all is chosen.

    Runs whose recipes differ in the seed only (or in device and folder of data) are one system; a
    study's folder stands for its finished runs. Each task's baseline is its single-task system,
    else the first system that has it. time: load the models and time their answers, about half a
    minute in all, on `device`. Raises RecipeError for folders that are no finished runs, where
    nothing can be compared, and where a task's rows differ.
    """
    refuse_too_few(resamples)
    if split not in JUDGED:
        raise RecipeError(f"--split {split!r}: must be {' or '.join(JUDGED)}.")
    systems, notes = systems_of(runs, split)
    _refuse_too_few(systems)
    baselines, chosen = baselines_of(systems)
    notes += chosen
    groups, comparisons = compare_all(systems, baselines, resamples, console)
    timing = None
    if time:
        timing, more = time_answers([s for s in systems if s.answers], device, console)
        notes += more
    summaries = [
        summary_of(system, replaced_by(system, baselines), on_tasks, timing)
        for system in systems
        if len(system.tasks) > 1
        and (on_tasks := [c for c in comparisons if c.system == system.name and c.task != OVERALL])
    ]
    return Verdict(
        split=split,
        level=LEVEL,
        groups=groups,
        comparisons=comparisons,
        costs=costs_of(systems, baselines, timing),
        summaries=summaries,
        notes=[*probe_notes(systems), *notes, *_notes(systems, baselines, comparisons, resamples)],
        one_pass=one_passes(systems, baselines, timing),
    )


def refuse_too_few(resamples: int) -> None:
    """RecipeError for resamples of which no interval can be made."""
    if resamples < FEWEST_RESAMPLES:
        raise RecipeError(
            f"--resamples {resamples}: an interval needs {FEWEST_RESAMPLES} or more; "
            f"{RESAMPLES:,} take seconds."
        )


def _refuse_too_few(systems: Sequence[System]) -> None:
    if not systems:
        raise RecipeError("a comparison needs runs: name the folders of two or more.")
    if len(systems) == 1:
        same = " (runs whose recipes differ in the seed only, device and data aside, are one)"
        raise RecipeError(
            f"{', '.join(str(run.folder) for run in systems[0].runs)}: is a single system{same}; "
            "name runs of another recipe, too."
        )
    seen: set[str] = set()
    for system in systems:
        if seen & set(system.answers):
            return
        seen |= set(system.answers)
    listed = "; ".join(f"{system.name}: {', '.join(system.tasks) or 'none'}" for system in systems)
    raise RecipeError(
        f"no task is answered on {systems[0].split} by two of these systems ({listed}), so nothing "
        "can be compared. Name runs that have a task in common."
    )


def _notes(
    systems: Sequence[System],
    baselines: dict[str, System],
    comparisons: Sequence[Comparison],
    resamples: int,
) -> list[str]:
    notes = []
    alone = [system.name for system in systems if len(system.runs) == 1]
    if alone:
        notes.append(
            f"One seed only: {', '.join(alone)}. How much training differs from seed to seed is "
            "not in those intervals, so they are too narrow; train more seeds to know."
        )
    notes += [*note_of(systems), *busy_note(systems), *earlier_note(systems)]
    notes += [*_chosen_notes(systems), *_calibrated_note(systems)]
    for system in systems:
        folders = dict.fromkeys(run.recipe.data for run in system.runs)
        if len(folders) > 1:
            notes.append(
                f"{system.name}: its runs read their data in {' and in '.join(folders)}; their "
                f"{system.split} rows are the same, and their training rows are taken to be."
            )
        others = {baselines[name].encoder for name in system.answers} - {system.encoder}
        if others:
            notes.append(
                f"{system.name} has the encoder {system.encoder}, its baseline "
                f"{' and '.join(sorted(others))}: the difference is theirs, too."
            )
        if without := [name for name in system.tasks if name not in system.answers]:
            notes.append(f"{system.name}: has no {system.split} rows for {', '.join(without)}.")
    slow = {c.task for c in comparisons if c.resamples < resamples and c.task != OVERALL}
    if slow:
        notes.append(
            f"{', '.join(sorted(slow))}: its metric is slow, so the interval is of "
            f"{min(c.resamples for c in comparisons)} resamples."
        )
    notes += [*correction_notes(comparisons), *_few_rows(comparisons)]
    if any(system.encoder == "minilm" for system in systems):
        notes.append(MINILM)
    return notes


def _chosen_notes(systems: Sequence[System]) -> list[str]:
    """Whose scores are better than they would be on other rows."""
    return [
        f"{system.name}: its weights were chosen by their scores on these {system.split} rows, for "
        f"{', '.join(name for name in system.tasks if name in system.chosen_here)}: no gain of it "
        "is called more than noise here. Compare on rows that it has not seen (--split test)."
        for system in systems
        if system.chosen_here
    ]


def _calibrated_note(systems: Sequence[System]) -> list[str]:
    """Which runs answer otherwise by now than what is compared."""
    folders = [run.folder for system in systems for run in system.runs]
    names = [str(folder) for folder in folders if _is_calibrated(folder / MODEL)]
    later = "calibrated later; what is compared is what training left."
    return [f"{', '.join(names)}: {later}"] if names else []


def _is_calibrated(model: Path) -> bool:
    try:
        return (model / MANIFEST).is_file() and bool(decisions_in(model))
    except RecipeError:  # damaged; nothing of it is compared
        return False


def _few_rows(comparisons: Sequence[Comparison]) -> list[str]:
    """Where so few rows differ that nothing can be told, whatever the resamples."""
    few = [c for c in comparisons if 0 < c.differing < FEWEST]
    if not few:
        return []
    is_one = len({c.system for c in comparisons}) == 1
    names = [c.task if is_one else f"{c.task} of {c.system}" for c in few]
    counts = ", ".join(f"{name} ({c.differing})" for name, c in zip(names, few, strict=True))
    return [
        f"So few rows differ that nothing can be told: {counts}. Of fewer than {FEWEST} nothing is "
        f"beyond noise, since by an exact sign test p is {shown_p(least_p(FEWEST - 1))} or more "
        "even if one side lost them all. It takes more rows."
    ]
