"""`trivium compare`: a verdict shown, and written to a file."""

import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console

from trivium.errors import RecipeError
from trivium.run.folder.atomic import refuse_unwritable, write_text
from trivium.run.folder.finished import FinishedRun
from trivium.run.folder.locks import alone
from trivium.run.screen.console import heard_on
from trivium.run.verdict.bootstrap import RESAMPLES
from trivium.run.verdict.facts import Verdict
from trivium.run.verdict.systems import SPLIT
from trivium.run.verdict.tables import (
    as_json,
    as_markdown,
    print_verdict,
)
from trivium.run.verdict.verdict import refuse_too_few, verdict

FORMS = (".md", ".json")


def compare(
    runs: Sequence[str | Path | FinishedRun],
    *,
    out: str | Path | None = None,
    split: str = SPLIT,
    resamples: int = RESAMPLES,
    time: bool = True,
    device: str = "auto",
    overwrite: bool = False,
    console: Console | None = None,
) -> Verdict:
    """The verdict on several runs, shown on the console, and written to `out` (.md or .json).

    As `verdict` else. Raises RecipeError before any work where `out` cannot be written.

        verdict = trivium.compare(["runs/a", "runs/frozen"], time=False, resamples=200)
        [comparison.sentence for comparison in verdict.comparisons]
    """
    console = heard_on(console)
    path = Path(os.path.abspath(out)) if out is not None else None
    with alone(path) if path is not None else nullcontext():
        refuse_unusable(path, resamples, overwrite=overwrite)
        result = verdict(
            runs, split=split, resamples=resamples, time=time, device=device, console=console
        )
        print_verdict(result, console)
        if path is not None:
            write_text(path, as_json(result) if path.suffix == ".json" else as_markdown(result))
    return result


def refuse_unusable(out: Path | None, resamples: int, *, overwrite: bool) -> None:
    """RecipeError where the verdict could not be reached or written, whatever the runs say."""
    refuse_too_few(resamples)
    if out is None:
        return
    if out.suffix not in FORMS:
        raise RecipeError(f"{out}: name a file that ends in {' or '.join(FORMS)}.")
    refuse_unwritable(out, overwrite=overwrite, example="verdict.md")
