"""A study's table as data: what its runs scored and cost, from their folders."""

import json
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from trivium.apps.study.ensembles import EnsembleRun, Run
from trivium.apps.study.order import orders_of
from trivium.apps.study.runs import Plan
from trivium.parts.tasks import Task
from trivium.recipe import Recipe
from trivium.recipe.budget import Reported
from trivium.run.folder.differences import ABSENT, differences
from trivium.run.folder.environment import environment
from trivium.run.folder.names import ENVIRONMENT, SCORES
from trivium.run.folder.scores import read_scores

SPLIT = "dev"
DevRows = tuple[str, str, str, int | None]
"""What names dev rows in a recipe: the data folder, the task, the file, and at most so many."""
COSTS = ("seconds", "tokens_per_s", "trained_parameters", "peak_memory_bytes")


def summarise(plan: Plan, failed: Mapping[Run, str]) -> dict[str, Any]:
    """The content of `table.json`, from the folders of the runs as they are now.

    failed: why, for runs that failed in this call.
    """
    judged = _judged_rows(plan)
    rows = [_row(plan, name, failed, judged) for name in plan.paths]
    return {
        "split": SPLIT,
        "seeds": list(range(plan.seeds)),
        "budget": plan.budget,
        "changes": list(plan.changes),
        "date": _date(plan),
        "machines": _machines(plan),
        "recipes": rows,
        "orders": orders_of(rows),
        "command": plan.command,
    }


def _row(
    plan: Plan, name: str, failed: Mapping[Run, str], judged: Mapping[DevRows, int]
) -> dict[str, Any]:
    runs, reported = plan.runs_of(name), plan.reported[name]
    like = _compared_to(plan, name)
    return {
        "name": name,
        "file": str(plan.paths[name]),
        "encoder": _encoder(runs[0]),
        "ensemble": _ensemble(runs[0]),
        "reported": _reported(reported, _encoder(runs[0])) if reported else None,
        "unlike": like,
        "differs": _unlike(_settings(plan.runs_of(like)[0]), _settings(runs[0])) if like else {},
        "runs": [_state(run, failed) for run in runs],
        **_scores_and_costs(runs, judged),
    }


def _compared_to(plan: Plan, name: str) -> str | None:
    """The row that another is told apart from: its report's first; of that, the study's first.

    None of the study's first, and of ensembles, which have no settings of their own.
    """
    plain = [each for each in plan.paths if not isinstance(plan.runs_of(each)[0], EnsembleRun)]
    if name not in plain or name == plain[0]:
        return None
    alike = [each for each in plain if _report(plan, each) == _report(plan, name)]
    return alike[0] if name != alike[0] else plain[0]


def _report(plan: Plan, name: str) -> str | None:
    found = plan.reported[name]
    return found.report if found else None


def _encoder(run: Run) -> str:
    """Of an ensemble all that its members have."""
    if isinstance(run, EnsembleRun):
        return ", ".join(dict.fromkeys(member.recipe.encoder for member in run.members))
    return run.recipe.encoder


def _ensemble(run: Run) -> dict[str, Any] | None:
    if not isinstance(run, EnsembleRun):
        return None
    return {"how": run.how, "members": [member.name for member in run.members]}


def _reported(reported: Reported, encoder: str) -> dict[str, Any]:
    """beside: whether its scores can stand beside ours, being of the same encoder."""
    same = Path(encoder).name.casefold() == Path(reported.encoder).name.casefold()
    return reported.model_dump(mode="json") | {"report": reported.report, "beside": same}


def _date(plan: Plan) -> str:
    """The day of the last score."""
    days = [(run.folder / SCORES).stat().st_mtime for run in plan.runs if run.is_finished]
    return date.fromtimestamp(max(days, default=time.time())).isoformat()


def _machines(plan: Plan) -> list[dict[str, Any]]:
    """What the finished runs were made on, each machine once; before there are any, this one."""
    found = []
    for run in plan.runs:
        path = run.folder / ENVIRONMENT
        if run.is_finished and path.is_file():
            found.append(_machine(json.loads(path.read_text(encoding="utf-8"))))
    found = found or [_machine(environment())]
    return [machine for place, machine in enumerate(found) if machine not in found[:place]]


def _machine(told: Mapping[str, Any]) -> dict[str, Any]:
    versions = {name: told.get("packages", {}).get(name) for name in ("torch", "trivium")}
    return {key: told.get(key) for key in ("cpu", "cpus", "threads", "gpu", "python")} | versions


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


def _scores_and_costs(runs: Sequence[Run], judged: Mapping[DevRows, int]) -> dict[str, Any]:
    """Means and sample standard deviations over the finished runs of one recipe."""
    found = [read_scores(run.folder) for run in runs if run.is_finished]
    costs = [run.cost for run in runs if run.is_finished]
    recipe = runs[0].recipe
    tasks = {name: task for name, task in recipe.tasks.items() if recipe.has_dev(name)}
    return {
        "n": len(found),
        "tasks": {
            name: {"metric": task.metric, "dev": _judged_on(recipe, task, judged)}
            | _summary([s["tasks"][name][SPLIT].get(task.metric) for s in found])
            for name, task in tasks.items()
        },
        "overall": {
            kind: _summary([s["overall"].get(SPLIT, {}).get(kind) for s in found])
            for kind in ("leaderboard", "mean")
        },
        "cost": {kind: _summary([cost.get(kind) for cost in costs]) for kind in COSTS},
    }


def _judged_rows(plan: Plan) -> dict[DevRows, int]:
    """How many dev rows each task of the finished runs was judged on."""
    found: dict[DevRows, int] = {}
    for run in plan.runs:
        scores = read_scores(run.folder)["tasks"] if run.is_finished else {}
        for name, task in run.recipe.tasks.items():
            rows = scores.get(name, {}).get(SPLIT, {}).get("rows")
            if rows is not None and task.dev is not None:
                found.setdefault(_dev_rows(run.recipe, task), rows)
    return found


def _judged_on(recipe: Recipe, task: Task, judged: Mapping[DevRows, int]) -> str:
    """The dev rows, in a word: scores on others are scores of something else.

    Before anything was judged on them, as many as the recipe allows.
    """
    if task.dev is None:  # masked words, which have those of other tasks
        return ", ".join(task.lenders)
    rows = judged.get(_dev_rows(recipe, task), task.dev.rows)
    return task.dev.file + (f", {rows:,} rows" if rows else "")


def _dev_rows(recipe: Recipe, task: Task) -> DevRows:
    assert task.dev is not None
    return recipe.data, task.name, task.dev.file, task.dev.rows


def _summary(values: Sequence[float | None]) -> dict[str, Any]:
    """mean, sd (None for fewer than two values) and the values, by seed."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    return {
        "mean": statistics.fmean(known) if known else None,
        "sd": statistics.stdev(known) if len(known) > 1 else None,
        "values": [v if v is not None and math.isfinite(v) else None for v in values],
    }
