"""What a study's table consists of: plain data, which `Table.as_dict` makes ready for JSON.

The fields of each class stand in the order of `table.json`.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Summary:
    """A number over the finished runs of one recipe."""

    mean: float | None
    """None where no run has it."""
    sd: float | None
    """Sample standard deviation; None for fewer than two values."""
    values: list[float | None]
    """By seed."""


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """A task's main metric over the finished runs of one recipe."""

    metric: str
    dev: str
    """The rows that it was judged on, in a word: scores on others are scores of something else."""
    mean: float | None
    sd: float | None
    values: list[float | None]
    seen: Summary | None = None
    """The same on training rows, where recipes have `train_rows`; else it is not in the JSON."""


@dataclass(frozen=True, slots=True)
class Means:
    """The two means over tasks."""

    leaderboard: Summary
    mean: Summary


@dataclass(frozen=True, slots=True)
class Costs:
    """Of an ensemble, of its members together."""

    seconds: Summary
    tokens_per_s: Summary
    trained_parameters: Summary
    peak_memory_bytes: Summary


@dataclass(frozen=True, slots=True)
class EnsembleOf:
    """What an ensemble is made of."""

    how: str
    members: list[str]
    """Names of other rows."""


@dataclass(frozen=True, slots=True)
class ReportedScores:
    """What a row's recipe says that a report reached with it."""

    source: str
    encoder: str
    """That it was reached with."""
    scores: dict[str, float]
    """By task, in its main metric."""
    report: str
    """The source, without the place in it."""
    beside: bool
    """Whether the scores can stand beside ours, being of the same encoder."""


@dataclass(frozen=True, slots=True)
class RunState:
    """How far one recipe is with one seed."""

    seed: int
    folder: str
    log: str
    state: Literal["done", "failed", "unfinished", "not started"]
    reason: str | None = None
    """Why it failed; not in the JSON of other runs."""


@dataclass(frozen=True, slots=True)
class Row:
    """A recipe: what it is, how far its runs are, what they scored and cost."""

    name: str
    file: str
    encoder: str
    ensemble: EnsembleOf | None
    reported: ReportedScores | None
    unlike: str | None
    """The row that `differs` is told against."""
    differs: dict[str, list[Any]]
    """Dotted path -> the setting there and here; None for one that is absent or says nothing."""
    runs: list[RunState]
    n: int
    """Finished runs."""
    tasks: dict[str, TaskSummary]
    overall: Means
    cost: Costs


@dataclass(frozen=True, slots=True)
class Order:
    """The rows of one report, ranked by us and by it, on one task and the same dev rows.

    A pair is clear where our means differ by more than the standard deviation of the difference
    between two single runs, sqrt(sd_a² + sd_b²).
    """

    report: str
    task: str
    metric: str
    dev: str
    title: str
    recipes: list[str]
    tau_b: float | None
    """Kendall's; None where one side has all rows alike."""
    pairs: int
    """That the report sets apart."""
    same: int
    """Those of them that stand in its order here."""
    clear: int | None
    """None, as the next one, where there is one seed, so no spread."""
    clear_same: int | None
    """Clear pairs in the report's order."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What runs were made on; None where a run does not tell."""

    cpu: str | None
    cpus: int | None
    threads: int | None
    gpu: str | None
    python: str | None
    torch: str | None
    trivium: str | None


@dataclass(frozen=True, slots=True)
class Table:
    split: str
    seeds: list[int]
    budget: str
    changes: list[str]
    date: str
    """Of the last score."""
    machines: list[Machine]
    recipes: list[Row]
    orders: list[Order]
    command: str
    """What to type to go on."""

    def as_dict(self) -> dict[str, Any]:
        """The content of `table.json`."""
        content = asdict(self)
        for row in content["recipes"]:
            for run in row["runs"]:
                if run["reason"] is None:
                    del run["reason"]
            for task in row["tasks"].values():
                if task["seen"] is None:
                    del task["seen"]
        return content
