"""From a recipe's search to Optuna's terms: distributions, samplers, pruners."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random as Shuffler
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from trivium.recipe.search import (
    TPE,
    Choice,
    Hyperband,
    Median,
    Point,
    Pruner,
    Range,
    Search,
    label,
)


class Space:
    """What Optuna draws, and what it means in a recipe.

    points: all of them, where they are known beforehand.

    Optuna knows a choice's values by their labels, since they may be anything, and it can neither
    keep a table nor tell 1 from true.
    """

    def __init__(self, search: Search, points: Sequence[Point], seed: int) -> None:
        self.settings = search.space
        choices = self._choices(points)  # in an order that no seed changes
        points = list(points)
        if search.sampler.kind == "grid":  # so that the first few are a fair sample
            Shuffler(seed).shuffle(points)
        self.listed: list[dict[str, str]] = [self._labels(point) for point in points]
        """Points of a search that knows them all beforehand, in order."""
        self._values: dict[str, dict[str, Any]] = {
            path: {label(value): value for value in values} for path, values in choices.items()
        }
        self.distributions: dict[str, BaseDistribution] = {
            path: CategoricalDistribution(list(self._values[path]))
            if path in self._values
            else _numbers(setting)
            for path, setting in self.settings.items()
        }

    def agree_with(self, trials: Iterable[FrozenTrial]) -> None:
        """Name choices in the order in which the search's trials know them: Optuna refuses another
        one, and earlier versions had it depend on the seed."""
        for trial in trials:
            for path, known in trial.distributions.items():
                values = self._values.get(path, {})
                if isinstance(known, CategoricalDistribution) and {*known.choices} == {*values}:
                    self.distributions[path] = known

    def point(self, drawn: Mapping[str, Any]) -> Point:
        """What a trial's parameters mean in a recipe."""
        return {path: self._value(path, drawn[path]) for path in self.settings}

    def _value(self, path: str, drawn: Any) -> Any:
        if path in self._values:
            return self._values[path][drawn]
        setting = self.settings[path]
        if isinstance(setting, Range) and not setting.is_whole and setting.values:
            # Optuna adds up steps, which makes 0.30000000000000004 of 0.3.
            return min(setting.values, key=lambda value: abs(value - drawn))
        return drawn

    def _choices(self, points: Sequence[Point]) -> dict[str, list[Any]]:
        if points:
            return {path: [point[path] for point in points] for path in self.settings}
        return {p: list(s.values) for p, s in self.settings.items() if isinstance(s, Choice)}

    def _labels(self, point: Point) -> dict[str, str]:
        return {path: label(value) for path, value in point.items()}


def _numbers(setting: Range | Choice) -> BaseDistribution:
    assert isinstance(setting, Range)
    if setting.is_whole:
        low, high, step = int(setting.low), int(setting.high), int(setting.step or 1)
        return IntDistribution(low, high, log=setting.log, step=step)
    return FloatDistribution(setting.low, setting.high, log=setting.log, step=setting.step)


class PerTrial(BaseSampler):
    """Draws that depend on the seed, the trial's number and the trials before it; on nothing else.

    One stream of random numbers per process would give two workers the same trials, and a search
    that goes on after a break other ones than without it.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int) -> None:
        self._make, self._seed = make, seed
        self._now = make(seed)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        mixed = np.random.SeedSequence([self._seed, trial.number]).generate_state(1)
        self._now = self._make(int(mixed[0]))
        self._now.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._now.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._now.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        return self._now.sample_independent(study, trial, param_name, param_distribution)


def make_sampler(search: Search, seed: int) -> BaseSampler:
    """Where the points are known beforehand it is not asked: they are put in Optuna's queue."""
    sampler = search.sampler
    if isinstance(sampler, TPE):
        startup = sampler.startup_trials
        return PerTrial(lambda mixed: TPESampler(seed=mixed, n_startup_trials=startup), seed)
    return PerTrial(lambda mixed: RandomSampler(seed=mixed), seed)


def make_pruner(pruner: Pruner) -> BasePruner:
    """Its steps are evaluations, counted from 1."""
    if isinstance(pruner, Median):
        return MedianPruner(
            n_startup_trials=pruner.startup_trials, n_warmup_steps=pruner.warmup_evaluations + 1
        )
    if isinstance(pruner, Hyperband):
        return HyperbandPruner(
            min_resource=pruner.min_evaluations, reduction_factor=pruner.reduction_factor
        )
    return NopPruner()
