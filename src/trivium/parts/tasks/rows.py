"""RowsPart: a task's settings of its rows: where they are, and how they are read."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from trivium.answering.form import refuse_missing
from trivium.part import Part
from trivium.parts.tasks.drawn import Drawn
from trivium.parts.tasks.sources import OneSource, Source, Sources
from trivium.text.cutting import Cut
from trivium.text.encodings import Encoding
from trivium.text.tables import Table, open_table
from trivium.types import Example, Row, Target

Gathered = dict[str, tuple[list[Example], str]]
"""split -> its rows, and how they came about, for people."""

Policy = Literal["refuse", "skip"]


class RowError(ValueError):
    """A row cannot be used: the message says why, the caller knows file and line."""


class MissingLabelError(RowError):
    """The row is fine but has no label for this task."""


class RowsPart(Part):
    """What of a task does not depend on what its answer looks like, but for `target`."""

    name: str = ""
    """Set from the task's key in the recipe."""
    text: str | tuple[str, str]
    """Column of the text; two columns for a pair."""
    label: str
    """Column of the label."""
    train: Sources = None
    """One file or several, each with a `relabel` of its own if its labels differ."""
    dev: OneSource = None
    """A file; or a number such as 0.1, a share of the training rows: see `Drawn`."""
    test: OneSource = None
    encode: Literal["separate", "joint"] = "separate"
    """Pairs: each text by itself (vectors can be reused), or `[CLS] a [SEP] b [SEP]`."""
    max_length: int | None = Field(default=None, ge=4)
    """Word pieces of a sequence, special ones included; by default the encoder's limit."""
    cut: Cut = "head"
    """What is kept of a text that is too long: its start, its end, or the first quarter and the
    rest from the end."""
    weight: float = Field(default=1.0, ge=0)
    """Factor on the task's loss."""
    auxiliary: bool = False
    """A means, not an end: left out of the overall mean, and judged only in stages that train it
    or guard it."""
    missing_labels: Literal["refuse", "allow"] = "refuse"
    """allow: a row with an empty label trains the other tasks only."""
    bad_rows: Policy = "refuse"
    """skip: leave out rows that cannot be used, and report each by file and line."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """Between cells; by default found from the header line."""
    quoting: Literal["standard", "none"] = "standard"
    """none: a quotation mark is a character like any other."""

    rows_are: ClassVar[str] = "labelled rows"
    """What its files hold, in words."""
    gathers: ClassVar[bool] = False
    """Whether its rows are made by `gather`, of those of its files and of its `lenders`."""
    empty_hint: ClassVar[str] = ""
    """What else to do about an empty label."""
    stratifies: ClassVar[bool] = False
    """Whether it has labels, of which each can be given its share of what is drawn."""

    @model_validator(mode="after")
    def _can_be_drawn(self) -> Self:
        drawn = {split: held for split in ("dev", "test") if (held := self.drawn(split))}
        for split, held in drawn.items():
            if self.train is None:
                raise ValueError(f"{split}: is a share of the training rows; name a `train` file")
            if held.stratify and not self.stratifies:
                raise ValueError(f"{split}: stratify: the task has no labels; leave it out")
        if len(drawn) == 2 and sum(held.share for held in drawn.values()) >= 1:
            raise ValueError("dev and test: their shares leave no row to train; take smaller ones")
        if len({(held.by, held.stratify) for held in drawn.values()}) > 1:
            raise ValueError("dev and test: are drawn alike; give both the same `by`, `stratify`")
        return self

    @abstractmethod
    def target(self, cell: str) -> Target:
        """The target a label cell stands for. Raises RowError."""

    # --- texts --------------------------------------------------------------------------------

    @property
    def is_pair(self) -> bool:
        return not isinstance(self.text, str)

    @property
    def text_columns(self) -> tuple[str, ...]:
        return (self.text,) if isinstance(self.text, str) else self.text

    @property
    def sequences(self) -> int:
        """Encoded sequences per row, S."""
        return 2 if self.is_pair and self.encode == "separate" else 1

    @property
    def row_texts(self) -> int:
        """Texts of a training row."""
        return len(self.text_columns)

    @property
    def encodes_apart(self) -> bool:
        """Whether every text of a row is encoded by itself."""
        return self.sequences == len(self.text_columns)

    # --- files --------------------------------------------------------------------------------

    def sources(self, split: str) -> tuple[Source, ...]:
        """The files of a split ("train", "dev", "test"); none where the recipe names none. Of one
        that is drawn, those that it is drawn from."""
        held = {"train": None, "dev": self.dev, "test": self.test}[split]
        if split == "train" or isinstance(held, Drawn):
            return self.train or ()
        return (held,) if held else ()

    def drawn(self, split: str) -> Drawn | None:
        """How a split is drawn from the training rows; None where it is not."""
        held = {"dev": self.dev, "test": self.test}.get(split)
        return held if isinstance(held, Drawn) else None

    def dev_words(self) -> str | None:
        """The dev rows, for people: their file, or what they are drawn from."""
        if isinstance(self.dev, Drawn):
            return self.dev.words(", ".join(source.words for source in self.train or ()))
        return self.dev.words if self.dev else None

    def open_table(
        self, path: str | Path, needed: Sequence[str], encoding: Encoding | None = None
    ) -> Table:
        """A file of its rows, which must have these columns. Raises RecipeError."""
        table = open_table(path, delimiter=self.delimiter, quoting=self.quoting, encoding=encoding)
        refuse_missing(table, needed, f"task {self.name!r}")
        return table

    @property
    def lenders(self) -> tuple[str, ...]:
        """Tasks of the recipe whose texts it uses."""
        return ()

    def text_problems(self, tasks: "Mapping[str, RowsPart]") -> Iterator[str]:
        """What keeps it from having texts, beside these tasks of its recipe."""
        yield from ()

    def as_judged(self, row: Example) -> Example | None:
        """A training row as one of those that the task is judged by; None where these hold what no
        training row does."""
        return row

    def gather(self, rows: Mapping[str, Iterable[Example]]) -> Gathered:
        """The rows of its splits, from those of its own files and of its `lenders`; only where it
        `gathers`. Raises RecipeError where nothing is left to train."""
        raise NotImplementedError(f"{type(self).__name__}: uses the rows of its files as they are")

    # --- rows ---------------------------------------------------------------------------------

    def labels_in(self, cell: str) -> Iterable[str]:
        """What a cell of the label column holds."""
        return [cell]

    def respelt(self, cells: Iterable[str]) -> Mapping[str, str]:
        """What of these cells is a label in another spelling -> that label."""
        return {}

    def relabelled(self, cell: str, words: Mapping[str, str]) -> str:
        """A label cell in the task's words: see `Source.relabel`."""
        return words.get(cell.strip(), cell)

    def lacks_label(self, cell: str) -> bool:
        """Whether a label cell says nothing."""
        return cell.strip() == ""

    def example(self, row: Row) -> Example:
        """The row as this task sees it. Raises RowError (MissingLabelError if only that lacks)."""
        cell = row.cells[self.label]
        if self.lacks_label(cell):
            if self.missing_labels == "allow":
                raise MissingLabelError("has no label")
            raise RowError(
                f"column {self.label!r} is empty. Fill it in, or set `missing_labels: allow` "
                f"(such rows train the other tasks only) or `bad_rows: skip`{self.empty_hint}"
            )
        return Example(self.texts_of(row), self.target(cell), row.line)

    def texts_of(self, row: Row) -> tuple[str, ...]:
        """The row's one or two texts. Raises RowError."""
        columns = self.text_columns
        texts = tuple([row.cells[column] for column in columns])
        for column, text in zip(columns, texts, strict=True):
            if not text or text.isspace():
                raise RowError(f"column {column!r} is empty. Fill it in, or set `bad_rows: skip`")
        return texts
