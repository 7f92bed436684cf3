"""affinity.json: what tasks gain from one another's steps, and the groups that follow from it.

This module loads no torch.
"""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from trivium.run.folder.names import AFFINITY
from trivium.run.folder.records import Record, read_record, write_record


class Grouping(Record):
    """The tasks on so many encoders."""

    encoders: int
    groups: list[list[str]]
    gain: float
    """Sum over the tasks of what each gains from the others in its group."""
    low: float | None = None
    high: float | None = None
    """Both ends of its 95 % interval; None in files of older versions."""
    harmed: list[str]
    """Tasks whose interval of what they gain from their group is below 0."""


class Affinity(Record):
    """gain[i][j]: what a step for task i does to the loss of task j, as a share of it; above 0 it
    helps."""

    damaged: ClassVar[str] = "measure it again: trivium affinity RUN --overwrite"

    tasks: list[str]
    gain: list[list[float]]
    low: list[list[float]]
    high: list[list[float]]
    """Both ends of 95 % intervals."""
    measurements: int
    steps: int
    """Of training that were taken."""
    every: int
    length: float
    seed: int
    stopped: bool
    """Whether it was stopped before all steps were taken."""
    exact: bool
    """Whether the groupings are the best of all, or were merged greedily."""
    groupings: list[Grouping]
    """The best with one encoder, two, …"""
    suggested: int
    """Place of the one that is suggested."""
    halves: list[list[list[str]]] = Field(default_factory=list)
    """The groups that the first half of the look-aheads suggests by itself, and the second; none
    where they are too few."""

    @property
    def groups(self) -> list[list[str]]:
        """Those that are suggested."""
        return self.groupings[self.suggested].groups


def write_affinity(folder: Path, affinity: Affinity) -> None:
    write_record(folder / AFFINITY, affinity)


def read_affinity(folder: Path) -> Affinity | None:
    """Of a run's folder; None where nobody measured it. Raises RecipeError where it is damaged."""
    path = folder / AFFINITY
    return read_record(path, Affinity) if path.is_file() else None
