"""What a report reached with a recipe's settings, and budgets: the same recipe, made shorter."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, field_validator

from trivium.errors import did_you_mean
from trivium.part import Part
from trivium.parts.tasks import Task
from trivium.recipe.schema import FILE_ONLY
from trivium.recipe.stage import DEFAULT_EPOCHS, Stage

FULL = "full"
"""The budget that every recipe has: it changes nothing."""
NOTES = ("reported", "budgets", "preset")
"""What a recipe's file says of the recipe as it stands there."""
RESHAPING = re.compile(r"tasks(\.[^.]+(\.train.*)?)?|stages(\.(\d+|\*))?")
"""Settings with which a recipe has other tasks, files of training rows, or stages."""

Count = Annotated[int, Field(gt=0)]


class ReportedTrial(Part):
    """What was reached with some settings changed."""

    set: dict[str, Any] = Field(min_length=1)
    """Dotted path -> value, of what the recipe's search changes."""
    scores: dict[str, float] = Field(min_length=1)


class Reported(Part):
    """What a paper or a report reached with these settings."""

    source: str = Field(min_length=1)
    """Where it stands, such as "Report 1, table 2"; what comes before the first comma is the
    report, whose rows a study compares with one another."""
    encoder: str = Field(min_length=1)
    """The encoder it was reached with."""
    scores: dict[str, float] = Field(min_length=1)
    """By task, in the task's main metric on dev."""
    trials: tuple[ReportedTrial, ...] = ()
    """The same with other settings, for what the recipe's search tries: `trivium tune` sets them
    beside its trials."""

    @property
    def report(self) -> str:
        """The report, without the place in it."""
        return self.source.partition(",")[0].strip()

    def problems(self, tasks: Mapping[str, Task]) -> Iterator[str]:
        """What does not fit the recipe that it was reported of, or the ensemble's."""
        yield from unknown_tasks(self.scores, tasks, "reported.scores")
        for place, trial in enumerate(self.trials):
            yield from unknown_tasks(trial.scores, tasks, f"reported.trials.{place}.scores")

    def unsearched(self, space: Collection[str]) -> Iterator[str]:
        """Settings of its trials that a search does not change. space: dotted paths."""
        for place, trial in enumerate(self.trials):
            for dotted in trial.set:
                if dotted not in space:
                    hint = did_you_mean(dotted, space)
                    yield f"reported.trials.{place}.set: the search has no {dotted!r}{hint}"


class Budget(Part):
    """What `--budget NAME` changes before `--set` does."""

    rows: Count | dict[str, Count] | None = None
    """At most so many training rows of every task, or by task; of a task with several files, each
    gives an equal part, and the first ones a row more where that does not come out even."""
    dev_rows: Count | dict[str, Count] | None = None
    """At most so many rows of dev, and of a labelled test file, of every task, or by task."""
    epochs: Count | tuple[Count, ...] | None = None
    """At most so many epochs of every stage, or one number per stage."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Other settings, by dotted path. The caps hold for what it sets, too."""

    @field_validator("set")
    @classmethod
    def _settings_of_a_run(cls, value: dict[str, Any]) -> dict[str, Any]:
        for dotted in value:
            if dotted.partition(".")[0] in (*FILE_ONLY, "seed"):
                raise ValueError(f"{dotted!r} is nothing that a budget changes; leave it out")
        return value

    def problems(self, tasks: Mapping[str, Task], stages: Sequence[Stage]) -> Iterator[str]:
        """What does not fit the recipe that the budget is for, as far as it says before `set`."""
        if not any(map(RESHAPING.fullmatch, self.set)):
            yield from self.misfits(tasks, stages)

    def misfits(self, tasks: Mapping[str, Task], stages: Sequence[Stage]) -> Iterator[str]:
        """What does not fit the recipe, with what the budget sets."""
        for field in ("rows", "dev_rows"):
            caps = getattr(self, field)
            yield from unknown_tasks(caps if isinstance(caps, dict) else (), tasks, field)
        if isinstance(self.epochs, tuple) and len(self.epochs) != len(stages):
            yield (
                f"epochs: holds {len(self.epochs)} numbers, but there are {len(stages)} stages; "
                "give one number for all, or one for each"
            )
        for name, task in tasks.items():
            cap, files = _cap(self.rows, name), len(task.sources("train"))
            if cap is not None and cap < files:
                yield (
                    f"rows: {cap} rows cannot come from the {files} training files of {name}; give "
                    f"it {files} or more"
                )

    def changes(self, tasks: Mapping[str, Task], stages: Sequence[Stage]) -> dict[str, Any]:
        """The caps, on tasks and stages that have what `set` says: dotted path -> value."""
        found: dict[str, Any] = {}
        for name, task in tasks.items():
            for split, caps in (("train", self.rows), ("dev", self.dev_rows)):
                found |= _capped(task, split, _cap(caps, name))
            found |= _capped(task, "test", _cap(self.dev_rows, name))
        if self.epochs is None:
            return found
        each = self.epochs if isinstance(self.epochs, tuple) else (self.epochs,) * len(stages)
        for index, (stage, cap) in enumerate(zip(stages, each, strict=True)):
            own = stage.epochs or (cap if stage.steps is not None else DEFAULT_EPOCHS)
            found[f"stages.{index}.epochs"] = min(own, cap)
        return found


def unknown_tasks(
    names: Mapping[str, Any] | tuple[()], tasks: Mapping[str, Task], place: str
) -> Iterator[str]:
    """A line for every name that is no task's."""
    for name in names:
        if name not in tasks:
            yield f"{place}: no task {name!r}{did_you_mean(name, tasks)}"


def _cap(caps: int | dict[str, int] | None, task: str) -> int | None:
    return caps.get(task) if isinstance(caps, dict) else caps


def _capped(task: Task, split: str, cap: int | None) -> dict[str, Any]:
    """A split's files with at most `cap` rows together, as a recipe would say it."""
    sources = task.sources(split)
    if cap is None or not sources:
        return {}
    if held := task.drawn(split):
        return {f"tasks.{task.name}.{split}": held.capped(cap).plain()}
    each, more = divmod(cap, len(sources))
    plain = [source.capped(each + (place < more)).plain() for place, source in enumerate(sources)]
    return {f"tasks.{task.name}.{split}": plain if split == "train" else plain[0]}
