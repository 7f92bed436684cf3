"""`trivium predict` of many tables: what is done already is skipped, what is wrong is named."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from rich.console import Console

from trivium.answering.columns import Probabilities
from trivium.apps.batch.answering import Asked, Told, answer, loading
from trivium.apps.batch.crowd import answer_by_ray
from trivium.apps.batch.done import Ledger, model_digest
from trivium.apps.batch.files import Part, dealt, parts_of
from trivium.apps.batch.remote import place_of
from trivium.errors import RecipeError
from trivium.run.cluster.asked import OnRay
from trivium.run.folder.writable import refuse_no_folder
from trivium.run.hub.fetch import local_folder
from trivium.run.predictor.load import load
from trivium.run.screen.console import heard_on, say

SHOWN_PROBLEMS = 5


def predict_files(
    run: str | Path,
    task: str | Sequence[str] | None,
    sources: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    shard: tuple[int, int] = (1, 1),
    on: OnRay | Literal["ray"] | None = None,
    probabilities: Probabilities = False,
    top_k: int | None = None,
    form: str = "table",
    prefix: str = "",
    overwrite: bool = False,
    precision: str = "auto",
    device: str = "auto",
    backend: str = "auto",
    console: Console | None = None,
) -> dict[str, int]:
    """Answer every row of many tables, each into a table of its name in the folder `out`.

    sources: files, folders (all tables in them) and patterns with `*`; they and `out` may be URLs
    that fsspec knows, such as s3://bucket/in/*.csv. Each file's answers are what
    `predict_file` makes of it, whose settings the others are. shard: (3, 8) answers the third of
    eight shares: files are dealt one by one in the order of their names. on: by Ray, one model per
    worker, on machines that see the files and `out`.

    Files that this model has answered in the same way, as far as their and its sha256 tell, are
    skipped, so after any end the same call goes on. Answers that are not known to be ours are
    replaced with `overwrite` only. A table with a bad row has no answers, and the others do.

    Returns how many `files` were answered, with how many `rows`, and how many files were `skipped`.
    Raises RecipeError before any work where a file cannot be one of them, and at the end for
    the files that have no answers, each with its reason.

        messages = ["recipes/data/support-desk/messages-dev.csv"]
        trivium.predict_files("runs/first", "topic", messages, "answers", shard=(1, 2))
    """
    console, on = heard_on(console), OnRay() if on == "ray" else on
    given = [sources] if isinstance(sources, str | Path) else list(sources)
    parts = dealt(parts_of(given, out), shard)
    folder = local_folder(run)
    names = task if task is None or isinstance(task, str) else list(task)
    written = {"probabilities": probabilities, "top_k": top_k, "form": form, "prefix": prefix}
    how = {"precision": precision, "device": device, "backend": backend}
    asked = Asked(names, written | how, overwrite)
    about = {"model": model_digest(folder), "task": names, **asked.settings}
    ledger = Ledger(place_of(out), about)
    known = {part: rows for part in parts if (rows := ledger.rows_of(part)) is not None}
    left = [part for part in parts if part not in known]
    if left and isinstance(ledger.folder, Path):
        refuse_no_folder(ledger.folder, "the answers")
    share = f", {shard[0]} of {shard[1]} shares" if shard[1] > 1 else ""
    say(console, f"{len(parts):,} files{share}, {len(known):,} of them answered before: {out}")
    if on is None:
        found = list(_here(folder, asked, left, ledger, console))
    else:
        found = list(answer_by_ray(on, folder, asked, left, ledger, console=console))
    return _summed(found, len(known))


def _here(
    folder: Path, asked: Asked, parts: Sequence[Part], ledger: Ledger, console: Console
) -> Iterator[Told]:
    """One after another. The model is loaded when it is needed."""
    if not parts:
        return
    predictor = load(folder, **loading(asked.settings))
    for number, part in enumerate(parts, start=1):
        told = answer(predictor, asked, part, ledger, console)
        say(console, f"{number}/{len(parts)} {line_of(told)}")
        yield told


def line_of(told: Told) -> str:
    """For people."""
    return f"{told.part.name}: {told.problem or f'{told.rows:,} rows'}"


def _summed(found: Sequence[Told], known: int) -> dict[str, int]:
    """Raises RecipeError where a file has no answers."""
    done = [told for told in found if not told.problem]
    wrong = [told.problem for told in found if told.problem]
    if wrong:
        more = f"\nand {len(wrong) - SHOWN_PROBLEMS:,} more" if wrong[SHOWN_PROBLEMS:] else ""
        lines = "\n".join(wrong[:SHOWN_PROBLEMS])
        raise RecipeError(
            f"{len(wrong):,} of {len(found) + known:,} files have no answers; the others have. "
            f"Mend them, and the same command answers what is left:\n{lines}{more}"
        )
    return {"files": len(done), "rows": sum(told.rows for told in done), "skipped": known}
