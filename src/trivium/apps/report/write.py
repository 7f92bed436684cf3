"""From folders of runs to the file."""

import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from trivium.apps.report.answers import calibrations, confusions, scatters
from trivium.apps.report.browser import browser
from trivium.apps.report.comparison import comparison
from trivium.apps.report.conflicts import conflicts
from trivium.apps.report.curves import learning, time
from trivium.apps.report.distributions import distributions
from trivium.apps.report.files import Shelf, data_section, look
from trivium.apps.report.headline import cost, headline, recipes
from trivium.apps.report.page import render
from trivium.apps.report.runs import open_runs
from trivium.errors import RecipeError
from trivium.run.atomic import write_text
from trivium.run.folders import folders_of
from trivium.run.progress import rows_bar


def report(
    runs: str | Path | Sequence[str | Path],
    out: str | Path = "report.html",
    *,
    overwrite: bool = False,
    console: Console | None = None,
) -> Path:
    """Write one HTML file on one run, or on several that are compared; its path.

    A study's folder stands for all its finished runs. The file needs no network and no other file.
    Raises RecipeError, before anything is written, for a folder that is no finished run, and where
    `out` is there already, unless `overwrite`.
    """
    console = console or Console(stderr=True)
    given = [Path(runs)] if isinstance(runs, str | Path) else [Path(run) for run in runs]
    notes: list[str] = []
    folders = [folder for path in given for folder in folders_of(path, notes)]
    for note in notes:
        console.print(f"[yellow]note[/] {escape(note)}", soft_wrap=True, highlight=False)
    if not folders:
        raise RecipeError("a report is about one run or more; name their folders.")
    out = Path(os.path.abspath(out))
    _refuse_unusable(out, overwrite)
    with rows_bar(console, "parts") as bar:
        counter = bar.add_task("reading runs", total=2 * len(folders) + 1)

        opened = open_runs(folders)
        bar.advance(counter, len(folders))
        looks, shelf = [], Shelf()
        for run in opened:
            bar.update(counter, advance=1, description=f"files of {run.name}")
            looks.append(look(run, shelf))
        bar.update(counter, description="comparing and drawing")
        section, rows = browser(opened)
        sections = [
            headline(opened),
            *([comparison(opened)] if len(opened) > 1 else []),
            learning(opened),
            time(opened),
            confusions(opened),
            scatters(opened),
            section,
            calibrations(opened),
            distributions(opened, looks),
            conflicts(opened),
            data_section(opened, looks),
            cost(opened),
            recipes(opened),
        ]
        text = render(opened, sections, rows)
        out.parent.mkdir(parents=True, exist_ok=True)
        write_text(out, text)
    return out


def _refuse_unusable(out: Path, overwrite: bool) -> None:
    if out.is_dir():
        raise RecipeError(f"{out}: is a folder; name a file for the report, such as report.html.")
    if out.exists() and not overwrite:
        raise RecipeError(
            f"{out}: is there already. Replace it (--overwrite), or name another file."
        )
    place = out.parent
    while not place.exists():
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise RecipeError(f"{out}: cannot be written, since {place} cannot be written to.")
