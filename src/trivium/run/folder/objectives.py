"""What a search is after, read from a run's scores and costs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trivium.errors import RecipeError, did_you_mean
from trivium.recipe import Recipe
from trivium.recipe.search import COSTS, OVERALL, Search
from trivium.run.folder.scores import Scores
from trivium.run.rows.splits import Data

SPLIT = "dev"


@dataclass(frozen=True, slots=True)
class Objective:
    """One number of a run. A score is to be high, a cost low."""

    name: str
    """As the recipe says it."""
    task: str | None = None
    """None: the overall score, or a cost."""
    metric: str = ""

    @property
    def is_cost(self) -> bool:
        return self.name in COSTS and self.task is None

    @property
    def title(self) -> str:
        """What a column of a table is called."""
        if self.is_cost:
            return {"peak_memory": "peak memory, GiB", "parameters": "trained parameters"}.get(
                self.name, self.name
            )
        return f"{self.task} {self.metric}" if self.task else self.name

    def final(self, scores: Scores) -> float | None:
        """From the scores of a finished run: of the model that was kept."""
        if self.is_cost:
            return _number(costs_of(scores)[COSTS[self.name]])
        if self.task is None:
            return _number(scores.overall_of(SPLIT))
        return _number(scores.metric(self.task, SPLIT, self.metric))

    def now(self, evaluation: Mapping[str, Any]) -> float | None:
        """From an evaluation in the journal: of the model as it was then."""
        if self.task is None:
            return _number(evaluation.get("overall"))
        return _number(evaluation["scores"].get(self.task, {}).get(SPLIT, {}).get(self.metric))

    def shown(self, value: float) -> str:
        if not self.is_cost:
            return f"{value:.4f}"
        if self.name == "peak_memory":
            return f"{value / 2**30:.2f}"
        return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def costs_of(scores: Scores) -> dict[str, float | None]:
    """What a search can be after to be low, by its name in `scores.json`."""
    return {key: getattr(scores.cost, key) for key in COSTS.values()}


def objectives_of(recipe: Recipe, search: Search) -> list[Objective]:
    """Those to maximize, then those to minimize."""
    objectives = []
    for name in search.maximize:
        task, _, metric = name.partition(".")
        if name == OVERALL:
            objectives.append(Objective(name))
        else:
            objectives.append(Objective(name, task, metric or recipe.tasks[task].metric))
    return [*objectives, *(Objective(name) for name in search.minimize)]


def check_metrics(objectives: Sequence[Objective], recipe: Recipe, data: Data, path: Path) -> None:
    """RecipeError where a task has no such metric. recipe: with the labels found in its data."""
    for objective in objectives:
        if objective.task is None:
            continue
        task = recipe.tasks[objective.task]
        if objective.metric == task.metric or task.draws_targets:
            continue
        targets = [e.target for e in data[objective.task][SPLIT].examples if e.target is not None]
        readout_BK = task.readout(torch.zeros(len(targets), task.head_outputs))
        scores = task.scores(readout_BK, task.targets(targets))
        if objective.metric not in scores:
            hint = did_you_mean(objective.metric, scores)
            raise RecipeError(
                f"{path}: search.maximize: {objective.task} has no metric "
                f"{objective.metric!r}{hint}"
            )


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
