"""scores.json: what a finished run, soup or ensemble scored and cost.

This module loads no torch, so whoever only reads scores need not wait for it.
"""

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidatorFunctionWrapHandler, WrapValidator

from trivium.errors import RecipeError
from trivium.run.folder.names import SCORES
from trivium.run.folder.records import Record, read_record, write_record


def _as_it_stands(value: Any, is_number: ValidatorFunctionWrapHandler) -> Any:
    if value is None:
        return math.nan
    is_number(value)
    return value


Number = Annotated[float, Field(allow_inf_nan=True), WrapValidator(_as_it_stands)]
"""A number that stays whole if it is: 32 rows are not 32.0, neither read nor written again. Or nan,
as a correlation of older runs where nothing could be ranked; its file has null for that."""

Metrics = dict[str, Number]
"""Metric -> value, with the number of rows as `rows`."""
TaskScores = dict[str, dict[str, Metrics]]
"""Task -> split -> metric."""

Mean = Literal["leaderboard", "mean"]
"""Over tasks, of their main metrics; `leaderboard` counts a correlation r as (r + 1) / 2."""


class Cost(Record):
    """What training took; all of it is absent of ensembles, but for the parameters."""

    seconds: Number | None = None
    """Of training steps."""
    cpu_seconds: Number | None = None
    """That these steps kept the cores of the first process busy, all its threads together; far less
    than its threads times `seconds` where other programs ran beside."""
    first_step_s: Number | None = None
    """Seconds from the start to the end of the first step: reading, checking, baselines."""
    rows: Number | None = None
    tokens: Number | None = None
    tokens_per_s: Number | None = None
    peak_memory_bytes: Number | None = None
    parameters: Number | None = None
    trained_parameters: Number | None = None


class Selected(Record):
    """Which step's model was kept; of a soup neither stage nor step."""

    stage: str | None = None
    step: int | None = None
    by: str | None = None


class MemberScores(Record):
    """What one member of an ensemble scores on dev by itself."""

    name: str
    tasks: TaskScores
    overall: dict[str, Metrics] = Field(default_factory=dict)

    @property
    def scores(self) -> "Scores":
        return Scores(tasks=self.tasks, overall=self.overall)


class Tried(Record):
    """A run that a soup was offered."""

    run: str
    own: Number
    """Its own overall dev score."""
    soup: Number
    """That of the soup with it."""
    kept: bool


class ProbeScores(Record):
    """A linear probe: one linear layer on the encoder's vectors as they were before training."""

    scores: dict[str, Metrics]
    """By split, as `TaskScores` has them."""
    rows: Number
    """Training rows that it was fitted on."""
    of_rows: Number
    """That there were."""
    features: Number
    """Numbers by row that the layer saw."""
    penalty: Number
    """On the squared weights, chosen by a held-out part of the training rows."""


class Baselines(Record):
    """What a task can have without training."""

    metric: str
    """The main one, by which they are compared."""
    answer: str
    """What suits most training rows (the mean, of scores)."""
    majority: dict[str, Metrics]
    """Scores by split of always saying it."""
    probe: ProbeScores


class Scores(Record):
    """The content of scores.json. The order of the fields is that of the file."""

    tasks: TaskScores
    overall: dict[str, Metrics] = Field(default_factory=dict)
    """Split -> kind of mean."""
    precision: str = ""
    cost: Cost = Cost()
    selected: Selected | None = None
    members: list[MemberScores] = Field(default_factory=list)
    """Of an ensemble."""
    soup: list[Tried] | None = None
    """Of a soup: what was tried, in order. None of all else."""
    baselines: dict[str, Baselines] = Field(default_factory=dict)
    """By task. Runs without a probe, and older ones, have none."""

    def of(self, task: str, split: str) -> Metrics:
        """Every metric of a task; empty where it was not judged on the split."""
        return self.tasks.get(task, {}).get(split, {})

    def metric(self, task: str, split: str, name: str) -> float | None:
        """None where the task was not judged on the split, or not by this metric."""
        return self.of(task, split).get(name)

    def overall_of(self, split: str, kind: Mean = "leaderboard") -> float | None:
        """A mean over tasks; None where some task has no such rows."""
        return self.overall.get(split, {}).get(kind)


def read_scores(folder: Path) -> Scores:
    """Of a finished run. Raises RecipeError where it is not finished, or the file is damaged."""
    path = folder / SCORES
    if not path.is_file():
        raise RecipeError(f"{folder}: no {SCORES}; the run is not finished.")
    return read_record(path, Scores)


def write_scores(folder: Path, scores: Scores) -> None:
    write_record(folder / SCORES, scores)
