"""What tasks share that have no answers, and practise on texts alone."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from trivium.errors import RecipeError, did_you_mean
from trivium.parts.tasks.base import Task
from trivium.parts.tasks.rows import Gathered, RowsPart
from trivium.parts.tasks.texts import Texts, distinct, drawn
from trivium.text.encodings import Encoding
from trivium.text.plain import is_plain, open_lines
from trivium.text.tables import Table
from trivium.types import Answer, Example, Row, Target

_NOTHING = 0.0
"""The target of a row, which has none."""


class TextPractice(Task):
    """Practice on the distinct texts of other tasks, of text files, and of tables' columns."""

    of: tuple[str, ...] = ()
    """Tasks of the recipe whose texts are used: their training rows to train, their dev rows to
    judge."""
    texts: Literal["all", "first"] = "all"
    """first: of their pairs only the first text."""
    text: str = ""
    """Column of the text in `train` and `dev`, where these are tables. Files that end in .txt hold
    a text a line, and no header."""
    label: str = ""
    dev_texts: int = Field(default=2000, gt=0)
    """Most texts that it is judged by: always the same ones of the same texts."""
    auxiliary: bool = True

    answers_questions: ClassVar[bool] = False
    rows_are: ClassVar[str] = "text"
    gathers: ClassVar[bool] = True
    who_has: ClassVar[str] = ""
    """The kind of task, with its verb."""

    @field_validator("of", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _says_nothing_of_answers(self) -> "TextPractice":
        unused = {"label": "", "test": None, "encode": "separate", "missing_labels": "refuse"}
        for name, value in unused.items():
            if getattr(self, name) != value:
                raise ValueError(f"{name}: {self.who_has} no use for it; leave it out")
        if any(source.relabel for split in ("train", "dev") for source in self.sources(split)):
            raise ValueError(f"relabel: {self.who_has} no labels; leave it out")
        if any(source.where for split in ("train", "dev") for source in self.sources(split)):
            raise ValueError(
                f"where: {self.who_has} no use for it: all texts of a file are taken; leave it out"
            )
        if (held := self.drawn("dev")) and held.by:
            raise ValueError("dev: by: texts are drawn by themselves alone; leave it out")
        if len(set(self.of)) < len(self.of):
            raise ValueError("of: names a task twice")
        return self

    # --- its texts ----------------------------------------------------------------------------

    @property
    def lenders(self) -> tuple[str, ...]:
        return self.of

    def text_problems(self, tasks: Mapping[str, RowsPart]) -> Iterator[str]:
        if not self.of and not self.train:
            yield (
                f"tasks.{self.name}: has no texts; name tasks as `of`, or files as `train` (.txt: "
                "a text a line; or a table with its column as `text`)"
            )
        choices = [name for name, task in tasks.items() if not task.gathers]
        for other in self.of:
            if other == self.name or (other in tasks and other not in choices):
                yield (
                    f"tasks.{self.name}.of: {other!r} has no texts of its own to lend; leave it out"
                )
            elif other not in tasks:
                yield f"tasks.{self.name}.of: no task {other!r}{did_you_mean(other, choices)}"

    def open_table(
        self, path: str | Path, needed: Sequence[str], encoding: Encoding | None = None
    ) -> Table:
        """Plain text, or the column `text` of a table, whatever else is needed of other tasks."""
        if is_plain(path):
            return open_lines(path, self.text, encoding)
        if not self.text:
            raise RecipeError(
                f"task {self.name!r}: {path}: is a table; say as `text` which column holds the "
                "text. A file with a text a line ends in .txt."
            )
        return super().open_table(path, self.text_columns, encoding)

    def gather(self, rows: Mapping[str, Iterable[Example]]) -> Gathered:
        """Every distinct text once, of the splits that have rows; one that stands in dev is not
        trained."""
        most = 1 if self.texts == "first" else None
        texts = {split: distinct(found, most, _NOTHING) for split, found in rows.items()}
        dev = texts.get("dev", {})
        gathered: Gathered = {}
        if "train" in texts:
            gathered["train"] = self._trained(texts["train"], dev)
        if dev:
            judged = drawn(dev, self.dev_texts)
            more = f", of {len(dev):,} always these" if len(judged) < len(dev) else ""
            gathered["dev"] = judged, self._note(len(judged)) + more
        return gathered

    def _trained(self, texts: Texts, dev: Texts) -> tuple[list[Example], str]:
        train = [example for key, example in texts.items() if key not in dev]
        if not train:
            raise RecipeError(
                f"task {self.name!r}: train: no text is left that does not also stand in dev. Name "
                "other texts, or leave the `dev` rows out."
            )
        return train, self._note(len(train), len(texts) - len(train))

    def _note(self, texts: int, held_out: int = 0) -> str:
        of = f" of {', '.join(self.of)}" if self.of else ""
        of += " and files of its own" if self.of and self.train else ""
        out = f"; {held_out:,} more also stand in dev and are not trained" if held_out else ""
        return f"{texts:,} distinct texts{of}{out}"

    # --- rows without an answer ---------------------------------------------------------------

    def example(self, row: Row) -> Example:
        return Example(self.texts_of(row), _NOTHING, row.line)

    def target(self, cell: str) -> float:
        return _NOTHING

    def answer_of(self, target: Target) -> Answer:
        raise AssertionError("callers look at `answers_questions` first")
