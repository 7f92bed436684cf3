"""From folders of runs to the file."""

import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from trivium.apps.report.affinity import affinities
from trivium.apps.report.answers import calibrations, confusions, scatters
from trivium.apps.report.browser import browser
from trivium.apps.report.comparison import comparison
from trivium.apps.report.conflicts import conflicts
from trivium.apps.report.curves import learning, time
from trivium.apps.report.data import Look, Shelf, data_section, look
from trivium.apps.report.deciding import calibrated
from trivium.apps.report.distributions import distributions
from trivium.apps.report.explained import explained, refuse_count
from trivium.apps.report.figure import Section
from trivium.apps.report.headline import cost, headline, recipes
from trivium.apps.report.page import render
from trivium.apps.report.rows import RowSet
from trivium.apps.report.runs import ReportedRun, drawn, each_once, open_runs
from trivium.errors import RecipeError
from trivium.run.folder.atomic import refusals_told, refuse_unwritable, write_text
from trivium.run.folder.locks import alone
from trivium.run.folder.studies import folders_of
from trivium.run.screen.console import heard_on, note
from trivium.run.screen.progress import rows_bar


def report(
    runs: str | Path | Sequence[str | Path],
    out: str | Path = "report.html",
    *,
    explain: int = 0,
    overwrite: bool = False,
    console: Console | None = None,
) -> Path:
    """Write one HTML file on one run, or on several that are compared; its path.

    A study's folder stands for all its finished runs; a run that is named twice is taken once.
    The file needs no network and no other file. explain: so many of each task's most confident
    mistakes are shown word by word, which asks the model once for every word.
    Raises RecipeError, before anything is written, for a folder that is no finished run, and where
    `out` is there already, unless `overwrite`.

        trivium.report(["runs/a", "runs/b"], "report.html", overwrite=True)
    """
    console = heard_on(console)
    refuse_count(explain)
    given = [Path(runs)] if isinstance(runs, str | Path) else [Path(run) for run in runs]
    notes: list[str] = []
    folders = each_once(folder for path in given for folder in folders_of(path, notes))
    notes = list(dict.fromkeys(notes))
    for line in notes:
        note(console, line)
    if not folders:
        raise RecipeError("a report is about one run or more; name their folders.")
    out = Path(os.path.abspath(out))
    left = "What was there is as it was." if out.exists() else "Nothing was kept."
    with alone(out), refusals_told(out, lambda: left), rows_bar(console, "parts") as bar:
        refuse_unwritable(out, overwrite=overwrite, example="report.html")
        counter = bar.add_task("reading runs", total=2 * len(folders) + 1)
        opened = open_runs(folders)
        bar.advance(counter, len(folders))
        looks, shelf = [], Shelf()
        for run in opened:
            bar.update(counter, advance=1, description=f"files of {run.name}")
            looks.append(look(run, shelf))
        bar.update(counter, description="comparing and drawing")
        sections, rows = _sections(opened, looks, notes)
        if explain:
            place = next(n for n, section in enumerate(sections) if section.id == "errors")
            sections.insert(place + 1, explained(drawn(opened)[0], explain, bar))
        text = render(opened, sections, rows)
        write_text(out, text)
    return out


def _sections(
    runs: Sequence[ReportedRun], looks: Sequence[Look], notes: Sequence[str]
) -> tuple[list[Section], list[RowSet]]:
    """All sections in their order, and the rows that the list of mistakes is made of.

    notes: what readers should know of the choice of runs.
    """
    shown, left_out = drawn(runs)
    scores, (mistakes, rows) = headline(runs), browser(shown)
    scores.notes.extend(notes)
    on_answers = [
        confusions(shown),
        scatters(shown),
        mistakes,
        calibrations(shown),
        distributions(shown, looks),
    ]
    for section in on_answers:
        section.notes.extend(left_out)
    sections = [
        scores,
        *([comparison(runs)] if len(runs) > 1 else []),
        learning(runs),
        time(runs),
        *on_answers,
        *calibrated(runs),
        conflicts(runs),
        *([found] if (found := affinities(runs)).panels else []),
        data_section(runs, looks),
        cost(runs),
        recipes(runs),
    ]
    for section in sections:
        if any(panel.figure and panel.figure.has_too_many_names for panel in section.panels):
            section.notes.append("Where names would not fit, point at a line to see whose it is.")
    return sections, rows
