"""Search: what `trivium tune` may change in a recipe, how it chooses, and what it is after."""

import json
import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import (
    Discriminator,
    Field,
    StrictFloat,
    StrictInt,
    Tag,
    field_validator,
    model_serializer,
    model_validator,
)

from trivium.part import Part

COSTS = {
    "seconds": "seconds",
    "parameters": "trained_parameters",
    "peak_memory": "peak_memory_bytes",
}
"""What `minimize` can say -> its name in a run's `scores.json`."""
OVERALL = "overall"
DEFAULT_TRIALS = 30
MOST_POINTS = 10_000
"""Of a grid. Nobody trains more; a longer list is a slip."""

MOST_PROBES = 40

Number = Annotated[StrictInt | StrictFloat, Field(ge=-1e15, le=1e15)]  # floats count in ones there
Point = dict[str, Any]
"""Dotted path -> value."""


class Range(Part):
    """Numbers from `low` to `high`, both included; whole ones where all that is said is whole."""

    low: Number
    high: Number
    log: bool = False
    """As likely between 1e-5 and 1e-4 as between 1e-4 and 1e-3: for what acts by factors."""
    step: Number | None = None
    """Only low, low + step, low + 2 step, …, high."""

    @model_validator(mode="before")
    @classmethod
    def _is_table(cls, value: Any) -> Any:
        if not isinstance(value, Mapping | Range):
            raise ValueError(f"is a list of values or a table with low and high, found {value!r}")
        return value

    @model_validator(mode="after")
    def _makes_sense(self) -> "Range":
        if self.low >= self.high:
            raise ValueError(
                f"low {self.low} is not below high {self.high}; a single value belongs in the "
                "recipe itself"
            )
        if self.log and self.low <= 0:
            raise ValueError(f"log: needs low above 0, found {self.low}")
        if self.step is None:
            return self
        if self.log:
            raise ValueError("log and step exclude each other; for a few values write a list")
        if self.step <= 0:
            raise ValueError(f"step: must be above 0, found {self.step}")
        count, rest = divmod(_exact(self.high) - _exact(self.low), _exact(self.step))
        if rest:
            last = _exact(self.low) + count * _exact(self.step)
            raise ValueError(f"high {self.high} ends no step; the last one is {float(last):.12g}")
        return self

    @property
    def is_whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return all(isinstance(number, int) for number in (self.low, self.high, self.step or 0))

    @property
    def values(self) -> list[Any] | None:
        """All of them in order; None where there is no end to them."""
        if not self.is_whole and self.step is None:
            return None
        step = _exact(self.step or 1)
        count = int((_exact(self.high) - _exact(self.low)) / step) + 1
        if count > MOST_POINTS:
            return None
        kind = int if self.is_whole else float
        return [kind(_exact(self.low) + place * step) for place in range(count)]

    @property
    def probes(self) -> list[Any]:
        """What a recipe must bear for all values to be likely to fit: both ends, and something
        between that is no whole number if they need not be."""
        if (values := self.values) is not None and len(values) <= MOST_PROBES:
            return values
        if self.is_whole or self.step is not None:
            return [self.low, self.high]
        between = math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2
        return [self.low, self.high, math.nextafter(between, math.inf)]

    def __str__(self) -> str:
        ends = f"{self.low:g} to {self.high:g}"
        return ends + (", log" if self.log else "") + (f" by {self.step:g}" if self.step else "")


class Choice(Part):
    """One of these, whatever they are; a plain list in a recipe."""

    values: tuple[Any, ...]

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, value: Any) -> Any:
        return {"values": value} if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _makes_sense(self) -> "Choice":
        if len(self.values) < 2:
            raise ValueError("a choice needs two values or more; one belongs in the recipe itself")
        seen: set[str] = set()
        for value in self.values:
            if (name := label(value)) in seen:
                raise ValueError(f"{name} stands twice")
            seen.add(name)
        return self

    @model_serializer
    def _plain_list(self) -> list[Any]:
        return list(self.values)

    @property
    def probes(self) -> list[Any]:
        return list(self.values)

    def __str__(self) -> str:
        return " | ".join(map(label, self.values))


def _kind_of_setting(value: Any) -> str:
    return "Choice" if isinstance(value, Choice | list | tuple) else "Range"


Setting = Annotated[
    Annotated[Range, Tag("Range")] | Annotated[Choice, Tag("Choice")],
    Discriminator(_kind_of_setting),
]


class TPE(Part):
    """Tree-structured Parzen estimator (Bergstra et al. 2011): likely where good trials were."""

    kind: Literal["tpe"] = "tpe"
    startup_trials: int = Field(default=10, ge=1)
    """Drawn at random, before there is anything to go by."""


class Random(Part):
    """Each trial by itself (Bergstra & Bengio 2012)."""

    kind: Literal["random"] = "random"


class Grid(Part):
    """Every combination once, in random order."""

    kind: Literal["grid"] = "grid"


class OneAtATime(Part):
    """The recipe as it is, and then with one setting changed at a time."""

    kind: Literal["one_at_a_time"] = "one_at_a_time"


SearchSampler = Annotated[TPE | Random | Grid | OneAtATime, Field(discriminator="kind")]


class NoPruner(Part):
    """Every trial is trained to its end."""

    kind: Literal["none"] = "none"


class Median(Part):
    """Ends a trial whose best score so far is below the median of the others' at the same
    evaluation (Golovin et al. 2017, section 3.2.2)."""

    kind: Literal["median"] = "median"
    startup_trials: int = Field(default=5, ge=1)
    """To be finished before any is ended."""
    warmup_evaluations: int = Field(default=1, ge=0)
    """Of each trial, after which it is not ended yet."""


class Hyperband(Part):
    """Lets the best of several go on, again and again, in brackets of different patience (Li et
    al. 2018)."""

    kind: Literal["hyperband"] = "hyperband"
    min_evaluations: int = Field(default=1, ge=1)
    """That every trial gets."""
    reduction_factor: int = Field(default=3, ge=2)
    """One of so many goes on."""


Pruner = Annotated[NoPruner | Median | Hyperband, Field(discriminator="kind")]


class Search(Part):
    """A search over a recipe's settings by trials, each of them a run."""

    space: dict[str, Setting] = Field(min_length=1)
    """Dotted path of a setting, as in --set, -> what it may be."""
    maximize: tuple[str, ...] = (OVERALL,)
    """Dev scores: `overall`, a task's name for its main metric, or task.metric."""
    minimize: tuple[Literal["seconds", "parameters", "peak_memory"], ...] = ()
    """Seconds of training, trained parameters, bytes at the peak. With several objectives in all,
    the outcome is the Pareto front: the trials that no other beats in everything."""
    trials: int | None = Field(default=None, ge=1)
    """Finished and pruned ones, of all processes together; by default 30, or as many as a grid, or
    one setting at a time, makes."""
    sampler: SearchSampler = TPE()
    pruner: Pruner = NoPruner()
    """What ends a trial early that does badly on dev."""
    timeout: float | None = Field(default=None, gt=0)
    """Minutes after which a process begins no further trial."""

    @field_validator("sampler", "pruner", mode="before")
    @classmethod
    def _plain_word(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    @field_validator("maximize", "minimize", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("space")
    @classmethod
    def _settings_stand_apart(cls, space: dict[str, Any]) -> dict[str, Any]:
        for path in space:
            if not all(path.split(".")):
                raise ValueError(f"{path!r} is no dotted path, such as stages.0.lr.encoder")
            if path.split(".")[0] == "search":
                raise ValueError(f"{path}: a search does not change itself")
            for other in space:
                if other.startswith(f"{path}."):
                    raise ValueError(f"{other} is a part of {path}, which is searched as a whole")
        return space

    @model_validator(mode="after")
    def _has_an_aim(self) -> "Search":
        names = (*self.maximize, *self.minimize)
        if not names:
            raise ValueError("maximize, minimize: there is nothing to be after")
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"maximize, minimize: {twice[0]!r} stands twice")
        return self

    @model_validator(mode="after")
    def _can_prune(self) -> "Search":
        if self.pruner.kind == "none":
            return self
        if len(self.maximize) + len(self.minimize) > 1:
            raise ValueError(
                f"pruner: {self.pruner.kind} compares trials by one score, but there are several "
                "objectives; use `pruner: none`, or one objective"
            )
        if not self.maximize:
            raise ValueError(
                f"pruner: {self.pruner.kind} compares dev scores, but none is an objective"
            )
        return self


def label(value: Any) -> str:
    """A value in a word or as JSON, one for each."""
    if isinstance(value, str) and not _reads_as_json(value):
        return value
    if isinstance(value, float):
        return f"{value!r}"
    return json.dumps(value, ensure_ascii=False, sort_keys=isinstance(value, Mapping))


def _reads_as_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _exact(number: float) -> Fraction:
    """As it was written: 0.1, not the nearest binary fraction."""
    return Fraction(repr(number))
