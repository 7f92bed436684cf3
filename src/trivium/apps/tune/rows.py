"""Trials as people see them: in a table, in a picture, in a line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from trivium.apps.tune.claims import PLACE, REASON, Claims
from trivium.recipe.search import label
from trivium.run.folder.objectives import Objective

SCORES, COSTS = "scores", "costs"
"""Attributes of a finished trial: every dev score by task.metric, and its costs."""
STATES = {
    TrialState.COMPLETE: "done",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A trial."""

    number: int
    state: str
    values: tuple[float, ...]
    """Of the objectives: of a pruned trial the last score it had; none of one that did not end."""
    settings: dict[str, Any]
    """Dotted path -> value, or its label."""
    curve: dict[int, float]
    """Evaluation -> score, where there is one objective."""
    scores: Mapping[str, float]
    costs: Mapping[str, float]
    reason: str
    place: str
    """host:folder"""


@dataclass(frozen=True, slots=True)
class Overview:
    """A search so far."""

    rows: list[Row]
    objectives: list[Objective]
    best: list[int]
    """Number of the best trial; with several objectives, of the Pareto front's."""
    total: int
    names: dict[str, str]
    """Dotted path -> a short name for it, one for each."""

    @property
    def ended(self) -> list[Row]:
        return [row for row in self.rows if row.state in ("done", "pruned")]

    @property
    def done(self) -> list[Row]:
        return [row for row in self.rows if row.state == "done"]

    def row(self, number: int) -> Row:
        return next(row for row in self.rows if row.number == number)

    def counts(self) -> str:
        """`12 of 30 trials: 9 done, 3 pruned, 1 failed`."""
        kinds = {state: sum(row.state == state for row in self.rows) for state in STATES.values()}
        counts = ", ".join(f"{count} {state}" for state, count in kinds.items() if count)
        return f"{len(self.ended)} of {self.total} trials" + (f": {counts}" if counts else "")

    def in_words(self, row: Row) -> str:
        """A trial's settings in a line."""
        return ", ".join(f"{self.names[p]} {shown(v)}" for p, v in row.settings.items())

    def shown_settings(self, row: Row) -> list[str]:
        """A trial's settings, in the order of `names`."""
        return [shown(row.settings[path]) if path in row.settings else "–" for path in self.names]

    def shown_values(self, row: Row) -> list[str]:
        """The objectives' values; of a trial on its way the score it has by now, in brackets."""
        if row.values:
            return [o.shown(value) for o, value in zip(self.objectives, row.values, strict=True)]
        if row.state == "running" and row.curve:
            return [f"({self.objectives[0].shown(list(row.curve.values())[-1])})"]
        return ["–"] * len(self.objectives)


def overview(claims: Claims, objectives: list[Objective]) -> Overview:
    rows = [_row(trial, claims) for trial in claims.trials() if trial.state != TrialState.WAITING]
    paths = list(claims.space.settings)
    return Overview(rows, objectives, _best(claims.study), claims.total, short_names(paths))


def shown(value: Any) -> str:
    """A setting's value, shortened."""
    return f"{value:.3g}" if isinstance(value, float) else label(value)


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """`lr.encoder` for `stages.0.lr.encoder`, or more of the path where that would mean two."""

    def tail(path: str, keys: int) -> str:
        words = path.split(".")[-keys:]
        return ".".join(words[1:] if words[0].isdecimal() and len(words) > 1 else words)

    names = {}
    for path in paths:
        keys = 2
        while tail(path, keys) in [tail(other, keys) for other in paths if other != path]:
            keys += 1
        names[path] = tail(path, keys)
    return names if len({*names.values()}) == len(names) else {path: path for path in paths}


def _row(trial: FrozenTrial, claims: Claims) -> Row:
    attributes = trial.user_attrs
    return Row(
        number=trial.number,
        state=STATES[trial.state],
        values=tuple(trial.values or ()),
        # Another worker may be drawing its values at this moment.
        settings=claims.space.point(trial.params) if claims.is_whole(trial) else {},
        curve=dict(sorted(trial.intermediate_values.items())),
        scores=attributes.get(SCORES, {}),
        costs=attributes.get(COSTS, {}),
        reason=attributes.get(REASON, ""),
        place=attributes.get(PLACE, ""),
    )


def _best(study: optuna.Study) -> list[int]:
    if len(study.directions) > 1:
        return [trial.number for trial in study.best_trials]
    try:
        return [study.best_trial.number]
    except ValueError:  # none is finished
        return []
