"""A task's rows as its files hold them, split by split; every row is accounted for."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trivium.run.rows.blocks import digests_of
from trivium.run.rows.stored import StoredRows
from trivium.text.tables import BadRow, Table
from trivium.types import Example, Target


@dataclass(frozen=True, slots=True)
class FileRows:
    """What one file holds for one task; every row of it is accounted for."""

    table: Table
    labelled: int
    unlabelled: int
    """Rows that lack only this task's label (`missing_labels: allow`)."""
    skipped: list[BadRow]
    """Rows left out by `bad_rows: skip`, each with its line and reason."""
    drawn: int | None = None
    """Labelled rows that are used, where these are a sample."""
    respelt: Mapping[str, str] = field(default_factory=dict)
    """What stands for a label in another spelling than the task's -> that label."""
    elsewhere: int = 0
    """Rows that are another split's, where splits are drawn from one file."""
    is_held: bool = False
    """Whether it was no file, but a table that Python holds, whose rows count from 0."""

    @property
    def rows(self) -> int:
        return self.labelled + self.unlabelled + len(self.skipped) + self.elsewhere

    def place(self, row: BadRow) -> str:
        """Where a row stands, for messages."""
        name = self.table.name
        return f"{name}: row {row.line - 1}" if self.is_held else f"{name}:{row.line}"


@dataclass(frozen=True, slots=True)
class Split:
    """The rows of one file, or of several one after another, as one task sees them."""

    name: str
    files: tuple[FileRows, ...]
    examples: Sequence[Example]
    """A list; or of a big table, rows that are made when they are asked for."""
    note: str = ""
    """For people: how they came about, where they are not just the rows of the files."""
    drawn: str = ""
    """For people: how they were drawn from the training rows, where they were."""

    @property
    def where(self) -> str:
        """The files' names, for messages."""
        return ", ".join(file.table.name for file in self.files)

    @property
    def targets(self) -> Sequence[Target]:
        """Of the rows that have one."""
        if isinstance(self.examples, StoredRows):
            return self.examples.targets
        return [example.target for example in self.examples if example.target is not None]

    @property
    def characters(self) -> int:
        """Of all texts."""
        if isinstance(self.examples, StoredRows):
            return int(self.examples.column("characters").sum(dtype=np.int64))
        return sum(len(text) for example in self.examples for text in example.texts)

    @property
    def twins(self) -> NDArray[np.uint64]:
        """Of the rows, in any order, numbers that rows with the same texts share; see
        `blocks.digest_of`."""
        if isinstance(self.examples, StoredRows):
            return self.examples.twins()
        return digests_of(example.texts for example in self.examples)

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files)

    @property
    def labelled(self) -> int:
        """With those that a sample leaves out."""
        return sum(file.labelled for file in self.files)

    @property
    def is_sample(self) -> bool:
        return any(file.drawn is not None for file in self.files)

    @property
    def unlabelled(self) -> int:
        return sum(file.unlabelled for file in self.files)

    @property
    def skipped(self) -> int:
        return sum(len(file.skipped) for file in self.files)


Data = dict[str, dict[str, Split]]
"""task -> split ("train", "dev", "test") -> rows."""

TRAIN = "train"
ALL = (TRAIN, "dev", "test")
JUDGED = ("dev", "test")
"""What a finished run is judged on: its recipe knows what was found in the training rows."""


def rows_digest(split: Split) -> str:
    """sha256 of a split's texts and targets, in whatever order they stand."""
    rows = sorted(repr((example.texts, example.target)) for example in split.examples)
    return hashlib.sha256("\n".join(rows).encode("utf-8", "surrogatepass")).hexdigest()


def data_digest(data: Data) -> str:
    """sha256 of every text and target a run trains and is judged on; of a big table, of all that
    they follow from."""
    digest = hashlib.sha256()
    for task, splits in sorted(data.items()):
        for name, split in sorted(splits.items()):
            digest.update(f"{task}/{name}/{len(split.examples)}".encode())
            if isinstance(split.examples, StoredRows):
                digest.update(split.examples.key.encode())
                continue
            for example in split.examples:
                digest.update(repr((example.texts, example.target)).encode())
    return digest.hexdigest()
