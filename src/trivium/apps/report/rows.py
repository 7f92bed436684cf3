"""The rows that a page's reader can leaf through, as `browser.js` reads them."""

from dataclasses import dataclass
from typing import Any

from trivium.types import Target


@dataclass(frozen=True, slots=True)
class RowAnswer:
    """What one run says of a row."""

    predicted: float | list[int]
    """A label's place, the places of several labels, or a score."""
    error: float
    """What the list is sorted by: of a wrong label its probability, of scores the distance, 0 where
    the answer is right."""
    confidence: float | None = None
    """Of tasks with exactly one label per row."""
    probabilities: list[tuple[int, float]] | None = None
    """Place and probability of the labels worth showing; None of scores."""

    def as_dict(self) -> dict[str, Any]:
        values = {
            "p": self.predicted, "e": self.error, "c": self.confidence, "d": self.probabilities,
        }  # fmt: skip
        return {key: value for key, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class AnsweredRow:
    line: int
    """In the table it was read from."""
    texts: tuple[str, ...]
    true: Target
    words: int
    answers: list[RowAnswer]
    """One per run."""

    def as_dict(self) -> dict[str, Any]:
        """With keys of one letter: a page holds thousands of rows."""
        return {
            "l": self.line,
            "t": self.texts,
            "y": self.true,
            "w": self.words,
            "a": [answer.as_dict() for answer in self.answers],
        }


@dataclass(frozen=True, slots=True)
class RowSet:
    """A task's dev rows with the answers of all runs that were asked the same."""

    task: str
    kind: str
    columns: list[str]
    """Of the texts."""
    labels: list[str] | None
    ordered: bool
    """Whether the labels have an order."""
    runs: list[int]
    """Places among the runs of the report."""
    total: int
    """Dev rows of the task; some may not be here."""
    thirds: tuple[int, int]
    """Words that a third, and two thirds, of all rows have at most."""
    rows: list[AnsweredRow]
    """The worst mistakes first."""

    def as_dict(self) -> dict[str, Any]:
        return {
            "task": self.task,
            "kind": self.kind,
            "columns": self.columns,
            "labels": self.labels,
            "ordered": self.ordered,
            "runs": self.runs,
            "total": self.total,
            "thirds": self.thirds,
            "rows": [row.as_dict() for row in self.rows],
        }
