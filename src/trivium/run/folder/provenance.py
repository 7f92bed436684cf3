"""data.json: which files a run was trained and judged on, as they were when it began."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trivium.digest import sha256
from trivium.errors import RecipeError
from trivium.parts.tasks import Task
from trivium.recipe import Recipe
from trivium.run.folder.names import DATA
from trivium.run.folder.records import Record, read_record, write_record
from trivium.run.rows.places import path_of
from trivium.run.rows.splits import Data, Split, rows_digest


class DataFile(Record):
    """Its licence, if it has one, is told by the recipe."""

    sha256: str
    bytes: int


class SplitRows(Record):
    files: list[str]
    """As the recipe calls them."""
    rows: int
    """Labelled rows that are used."""
    drawn: dict[str, Any] | None = None
    """How they were drawn from the training files, where they were: see `Drawn`."""
    rows_sha256: str | None = None
    """Of rows that were drawn: their texts and targets, in whatever order."""


class StartingPoint(Record):
    """The run whose model a run started from."""

    model: str
    sha256: str
    """Of its manifest, which holds those of the model's files."""


class Provenance(Record):
    """The content of data.json."""

    files: dict[str, DataFile]
    tasks: dict[str, dict[str, SplitRows]]
    """Task -> split."""
    start: StartingPoint | None = None


def write_provenance(
    run_dir: Path, recipe: Recipe, data: Data, start: StartingPoint | None = None
) -> None:
    """Of the files that the rows were just read from, and the run that it starts from."""
    tasks = {
        name: {split: _rows(recipe.tasks[name], split, rows) for split, rows in splits.items()}
        for name, splits in data.items()
    }
    files: dict[str, DataFile] = {}
    read = [(name, split) for name, splits in data.items() for split in splits]
    for source in (each for name, split in read for each in recipe.tasks[name].sources(split)):
        if source.file not in files:
            path = path_of(recipe.data, source)
            files[source.file] = DataFile(sha256=sha256(path), bytes=path.stat().st_size)
    more = {} if start is None else {"start": start}
    write_record(run_dir / DATA, Provenance(files=files, tasks=tasks, **more))


def refuse_other_start(run_dir: Path, start: StartingPoint | None) -> None:
    """RecipeError where a run that goes on began with another model than is there now."""
    facts = read_provenance(run_dir)
    if facts is not None and facts.start is not None and start != facts.start:
        raise RecipeError(
            f"--resume: {facts.start.model} was trained anew since this run began with its model. "
            "Put that back, or start a new run."
        )


def _rows(task: Task, split: str, rows: Split) -> SplitRows:
    files = [source.file for source in task.sources(split)]
    if (held := task.drawn(split)) is None:
        return SplitRows(files=files, rows=len(rows.examples))
    return SplitRows(
        files=files,
        rows=len(rows.examples),
        drawn=held.model_dump(exclude_defaults=True),
        rows_sha256=rows_digest(rows),
    )


def other_rows(run_dir: Path, data: Data) -> Iterator[str]:
    """A note for every split that is drawn, and is not the rows any more that the run was judged
    on, since its training files have changed. Nothing where the folder tells nothing of it."""
    known = read_provenance(run_dir)
    for name, splits in data.items() if known else ():
        for split, rows in splits.items():
            was = known.tasks.get(name, {}).get(split) if known else None
            if was is not None and was.rows_sha256 and was.rows_sha256 != rows_digest(rows):
                yield (
                    f"{name} {split}: the training files have changed: of the {was.rows:,} rows "
                    f"that were drawn then and the {len(rows.examples):,} now not all are the "
                    "same, and some of these may have been trained on"
                )


def read_provenance(run_dir: Path) -> Provenance | None:
    """None where the folder tells nothing, as that of a soup, or of a run of an older version.

    Raises RecipeError where the file is damaged.
    """
    path = run_dir / DATA
    return read_record(path, Provenance) if path.is_file() else None
