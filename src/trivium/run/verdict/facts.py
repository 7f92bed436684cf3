"""What a verdict consists of: plain data, which `dataclasses.asdict` makes ready for JSON."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Outcome = Literal["better", "worse", "noise", "same"]
"""better, worse: the interval leaves out 0, and enough rows differ. noise: it holds 0, or so few
differ that no interval tells anything. same: it is 0 and nothing else."""

OVERALL = "overall"
"""Stands for a task in a comparison of leaderboard means."""


@dataclass(frozen=True, slots=True)
class TaskScore:
    """A system's main metric on one task's dev rows."""

    metric: str
    mean: float
    """Over seeds."""
    sd: float | None
    """Sample standard deviation; None for one seed."""
    values: list[float]
    """By run, in the order of `Group.folders`."""


@dataclass(frozen=True, slots=True)
class Group:
    """A system: the runs of one recipe."""

    name: str
    folders: list[str]
    seeds: list[int | None]
    encoder: str
    single: str | None
    """The one task that it was trained for; None where there are several."""
    scores: dict[str, TaskScore]
    overall: TaskScore | None
    """The leaderboard mean over its tasks, where all of them have dev rows."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One system against a baseline on one task's dev rows, or overall."""

    system: str
    baseline: str
    task: str
    """Or `overall`."""
    metric: str
    is_sharing: bool
    """Whether one model for several tasks stands against models for a single one."""
    rows: int
    differing: int
    """Rows of which the metric sees the two differ, in the mean over seeds. Overall, tasks that are
    asked about the same texts share their rows."""
    before: float
    """The baseline's mean over seeds; all scores are shares of 1."""
    after: float
    difference: float
    low: float
    high: float
    """Bounds of the 95 % interval of the difference."""
    by_seed: dict[int, float]
    """The difference of runs with the same seed, where both sides have one."""
    seeds: tuple[int, int]
    """How many, of the system and of the baseline; where one, its spread is not in the interval."""
    resamples: int
    outcome: Outcome
    """By its own interval, and not against `p`."""
    p: float
    """Two-sided, of the same resamples as the interval; no less than an exact sign test over the
    differing rows allows, and 1 where `is_flattered`."""
    tests: int
    """Tasks on which the system is compared, for which `adjusted_p` is corrected; 1 for overall."""
    adjusted_p: float
    """By Holm's correction."""
    corrected: Outcome
    """After it: what is better or worse by its own interval alone is noise."""
    sentence: str
    is_flattered: bool = False
    """Whether the side with the higher score was chosen by its scores on these very rows, as a soup
    is, and an ensemble's weights: nothing is better or worse then."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a system costs; None where nothing tells. Of a system several seeds' mean.

    Of runs that were trained on different machines seconds and peak are None.
    """

    name: str
    tasks: list[str]
    models: int
    """How many stand in this line: more than one where single-task models are added up."""
    train_seconds: float | None
    """Of training steps; added up over models."""
    peak_bytes: int | None
    """Memory at the peak of training; of several models the largest, since they take turns."""
    parameters: int | None
    disk_bytes: int | None
    """Of the folders of models, added up."""
    answer_seconds: float | None = None
    """For `timed_rows` dev rows of every task; the median round."""
    timed_rows: int | None = None
    rows_per_s: float | None = None
    held_bytes: int | None = None
    """Parameters in memory when it answers."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What comes of using one system in place of its baselines."""

    system: str
    baselines: list[str]
    is_sharing: bool
    better: list[str]
    """Tasks by their outcome after Holm's correction."""
    worse: list[str]
    better_alone: list[str]
    """By their own interval only, no more after the correction."""
    worse_alone: list[str]
    undecided: list[str]
    """Whose intervals hold 0: neither better nor worse, and not shown to be as good."""
    same: list[str]
    tasks: int
    seeds: int
    """The fewest on either side of the comparisons."""
    parameters: float | None
    """Of the baselines', a share; None where the baselines are not for just these tasks."""
    train_seconds: float | None
    """None, too, where the machines of training differ."""
    answer_seconds: float | None
    sentence: str


@dataclass(frozen=True, slots=True)
class OnePass:
    """What is saved where one model's heads answer the same texts in one pass, in place of one
    single-task model after the other. Shares of 1; None where nothing tells."""

    system: str
    tasks: list[str]
    """All that the system has."""
    asked: list[str]
    """Of these, what the same texts were asked; empty where nothing was timed."""
    parameters: int | None
    parameters_apart: int | None
    """Of the single-task models together."""
    disk_bytes: int | None
    disk_bytes_apart: int | None
    texts: int | None
    ms: float | None
    """Per text, all tasks of `asked`; the median round."""
    ms_apart: float | None
    sentence: str


@dataclass(frozen=True, slots=True)
class Verdict:
    split: str
    level: float
    groups: list[Group]
    comparisons: list[Comparison]
    costs: list[Cost]
    summaries: list[Summary]
    notes: list[str]
    one_pass: list[OnePass] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
