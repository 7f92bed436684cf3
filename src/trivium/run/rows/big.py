"""Training files that are too big for memory: read once, block by block, into mapped files.

They are kept on this machine by a hash of the file and of all that reading it depends on; blocks
that are there are not read again, so what was stopped goes on.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from trivium.digest import sha256
from trivium.errors import RecipeError
from trivium.parts.tasks import Source, Task
from trivium.recipe import Recipe
from trivium.run.rows.arrays import Arrays, read_arrays
from trivium.run.rows.blocks import Job, needed_columns
from trivium.run.rows.places import opened, path_of
from trivium.run.rows.reading import Outcome, read_blocks, remove_unfinished
from trivium.run.rows.shelf import alone_with, own_shelf
from trivium.run.screen.console import heard_on, note
from trivium.run.screen.progress import rows_bar
from trivium.text.lines import format_of
from trivium.text.parts import Part, TornError
from trivium.text.tables import Table

BIG = 2**25
"""Bytes of a task's training files from which they are read into files: about half a million short
texts. What is smaller is held in memory."""
BIG_HERE = "TRIVIUM_BIG_TABLE"
"""Environment variable: other bytes than those."""
BLOCK_BYTES = 2**24
"""Of a file, that are read into one block: it bounds what reading holds in memory."""
PARQUET = 4
"""Bytes of text to bytes of Parquet, roughly."""
FORMAT = 1
"""Of the blocks; others are not read."""

_ELSEWHERE = {
    "name", "train", "dev", "test", "encode", "max_length", "cut", "weight", "auxiliary", "head",
    "loss", "metric", "labels", "class_weights", "range", "threshold", "bad_rows",
}  # fmt: skip
"""Settings of a task of which its blocks know nothing; whatever else it has, they may."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A training file, read."""

    source: Source
    table: Table
    key: str
    blocks: tuple[tuple[Path, Arrays], ...]
    folder: Path
    """Where those lie."""


def is_big(recipe: Recipe, task: Task) -> bool:
    """Whether a task's training files are read into files. Never where its rows are made of
    others, are asked about by teachers, or are drawn by more than their texts: all that is done
    in memory."""
    held = [drawn for split in ("dev", "test") if (drawn := task.drawn(split))]
    asked = any(part.teaching is not None for stage in recipe.stages for part in stage.regularizers)
    if task.gathers or asked or any(drawn.by or drawn.stratify for drawn in held):
        return False
    size = sum(_bytes(path_of(recipe.data, source)) for source in task.sources("train"))
    return size >= _limit()


def _limit() -> int:
    """From how many bytes on. Raises RecipeError."""
    told = os.environ.get(BIG_HERE, "").strip()
    if told and not told.isdecimal():
        raise RecipeError(
            f"{BIG_HERE}={told}: is a number of bytes, such as {BIG}; 0 has all training files "
            "read into files. Leave it out for the default."
        )
    return int(told) if told else BIG


def read_stored(recipe: Recipe, task: Task, console: Console | None) -> list[Stored]:
    """A task's training files, read, or found as they were read before. Raises RecipeError."""
    drawn = any(task.drawn(split) for split in ("dev", "test"))
    found = []
    for source in task.sources("train"):
        path = path_of(recipe.data, source)
        table = opened(task, path, needed_columns(task, source), source)
        key = _key(task, source, path, drawn=drawn)
        reader = _Reader(task, source, table, path, own_shelf(key), drawn)
        # Processes of one training, or of runs that are trained at the same time.
        with alone_with(reader.folder, partial(_tell_of_another, path, console)):
            blocks = tuple(reader.blocks(console))
        found.append(Stored(source, table, key, blocks, reader.folder))
    return found


def _tell_of_another(path: Path, console: Console | None) -> None:
    note(heard_on(console), f"{path.name}: another process reads it; waiting for its end")


def _bytes(path: Path) -> int:
    if not path.is_file():
        return 0  # what is wrong with it is told by whoever reads it
    try:
        factor = PARQUET if format_of(path) == "parquet" else 1
    except RecipeError:
        factor = 1
    return factor * path.stat().st_size


def _key(task: Task, source: Source, path: Path, *, drawn: bool) -> str:
    told = [
        FORMAT,
        version("trivium"),  # another one may read the same bytes in another way
        sha256(path),
        task.model_dump(mode="json", exclude=_ELSEWHERE),
        source.model_dump(mode="json", include={"relabel", "where", "encoding"}),
        BLOCK_BYTES,
        drawn,
    ]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Reader:
    task: Task
    source: Source
    table: Table
    path: Path
    folder: Path
    drawn: bool

    def blocks(self, console: Console | None) -> Iterator[tuple[Path, Arrays]]:
        remove_unfinished(self.folder)
        parts = self.table.parts(BLOCK_BYTES, quoted=self.task.quoting == "standard")
        while True:
            there = self._there(parts)
            jobs = [
                Job(self.task, self.path, self.source, part, self._file(number), self.drawn)
                for number, part in enumerate(parts)
                if number not in there
            ]
            outcomes = self._read(jobs, console)
            last = outcomes[-1] if outcomes else 0
            if isinstance(last, RecipeError):
                raise last
            if not isinstance(last, TornError):
                break
            torn = parts.index(jobs[len(outcomes) - 1].part)
            parts = [*parts[:torn], Part(parts[torn].first, parts[-1].last, parts[torn].line)]
        for number in range(len(parts)):
            held = there.get(number) or read_arrays(self._file(number))
            assert held is not None, "it was just written"
            yield self._file(number), held

    def _there(self, parts: Sequence[Part]) -> dict[int, Arrays]:
        """Blocks that were read before."""
        found = {number: read_arrays(self._file(number)) for number in range(len(parts))}
        return {
            number: held
            for number, held in found.items()
            if held is not None and held.facts["last"] == parts[number].last
        }

    def _read(self, jobs: Sequence[Job], console: Console | None) -> list[Outcome]:
        sizes = [(job.part.last - job.part.first) >> 20 for job in jobs]
        with rows_bar(console, "MiB") as bars:
            bar = bars.add_task(f"reading {self.path.name}", total=max(1, sum(sizes)))

            def on_read(job: Job) -> None:
                bars.advance(bar, (job.part.last - job.part.first) >> 20)

            return read_blocks(jobs, on_read)

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:05}.rows"
