"""Drawn: rows of a task's training files that are held out, in the place of a file of their own."""

from typing import Any

from pydantic import Field

from trivium.part import Part


class Drawn(Part):
    """A share of the training rows. In a recipe a number alone stands for the share.

    Which rows these are follows from their texts alone (`run.rows.drawing`): not from the seed, nor
    from the order of the rows, so that they are the same in every run.
    """

    share: float = Field(gt=0, lt=1)
    """Of the labelled training rows; dev and test together leave some to train."""
    by: str | None = Field(default=None, min_length=1)
    """A column whose rows stay together, such as one of authors: all with the same value are on
    one side."""
    stratify: bool = False
    """Give every label its share, where there is room for it; else the text alone decides."""
    rows: int | None = Field(default=None, gt=0)
    """At most so many of them: a sample that is the same in every run."""

    def plain(self) -> Any:
        """As a recipe would say it: the share alone, if there is nothing else."""
        told = self.model_dump(exclude_defaults=True)
        return told if len(told) > 1 else self.share

    def capped(self, rows: int) -> "Drawn":
        """With at most so many rows."""
        return self.model_copy(update={"rows": min(rows, self.rows or rows)})

    def words(self, files: str) -> str:
        """For people: what is held out of these files."""
        more = f", by {self.by}" if self.by else ""
        return f"{self.share:g} of {files}{more}" + (", stratified" if self.stratify else "")
