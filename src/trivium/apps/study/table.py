"""A study's table as data: what its runs scored and cost, from their folders."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from trivium.apps.study.runs import Plan, Run
from trivium.run.differences import ABSENT, differences
from trivium.run.train import read_scores

SPLIT = "dev"
COSTS = ("seconds", "tokens_per_s", "trained_parameters", "peak_memory_bytes")


def summarise(plan: Plan, failed: Mapping[Run, str]) -> dict[str, Any]:
    """The content of `table.json`, from the folders of the runs as they are now.

    failed: why, for runs that failed in this call.
    """
    first = next(iter(plan.paths))
    settings = {name: _settings(plan.runs_of(name)[0]) for name in plan.paths}
    return {
        "split": SPLIT,
        "seeds": list(range(plan.seeds)),
        "changes": list(plan.changes),
        "recipes": [
            {
                "name": name,
                "file": str(path),
                "encoder": plan.runs_of(name)[0].recipe.encoder,
                "differs": _unlike(settings[first], settings[name]),
                "runs": [_state(run, failed) for run in plan.runs_of(name)],
                **_scores_and_costs(plan.runs_of(name)),
            }
            for name, path in plan.paths.items()
        ],
        "command": plan.command,
    }


def _state(run: Run, failed: Mapping[Run, str]) -> dict[str, Any]:
    if run.is_finished and run not in failed:
        state = "done"
    elif run in failed:
        state = "failed"
    else:
        state = "unfinished" if run.has_begun else "not started"
    told = {"seed": run.seed, "folder": str(run.folder), "log": str(run.log), "state": state}
    return told | ({"reason": failed[run]} if run in failed else {})


def _settings(run: Run) -> dict[str, Any]:
    return run.recipe.model_dump(
        mode="json", exclude={"seed": True, "tasks": {"__all__": {"name"}}}
    )


def _unlike(first: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Dotted path -> the value in each; None for a setting that is absent or says nothing."""
    found = {
        place: [None if value is ABSENT else value for value in values]
        for place, *values in differences(first, other)
    }
    return {place: values for place, values in found.items() if values != [None, None]}


def _scores_and_costs(runs: Sequence[Run]) -> dict[str, Any]:
    """Means and sample standard deviations over the finished runs of one recipe."""
    found = [read_scores(run.folder) for run in runs if run.is_finished]
    recipe = runs[0].recipe
    tasks = {name: task for name, task in recipe.tasks.items() if recipe.has_dev(name)}
    return {
        "n": len(found),
        "tasks": {
            name: {"metric": task.metric}
            | _summary([s["tasks"][name][SPLIT].get(task.metric) for s in found])
            for name, task in tasks.items()
        },
        "overall": {
            kind: _summary([s["overall"].get(SPLIT, {}).get(kind) for s in found])
            for kind in ("leaderboard", "mean")
        },
        "cost": {kind: _summary([s["cost"].get(kind) for s in found]) for kind in COSTS},
    }


def _summary(values: Sequence[float | None]) -> dict[str, Any]:
    """mean, sd (None for fewer than two values) and the values, by seed."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    return {
        "mean": statistics.fmean(known) if known else None,
        "sd": statistics.stdev(known) if len(known) > 1 else None,
        "values": [v if v is not None and math.isfinite(v) else None for v in values],
    }
