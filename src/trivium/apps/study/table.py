"""A study's table as data: what its runs scored and cost, from their folders."""

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Literal

from trivium.apps.study.ensembles import EnsembleRun, Run
from trivium.apps.study.facts import (
    Costs,
    EnsembleOf,
    Machine,
    Means,
    ReportedScores,
    Row,
    RunState,
    Summary,
    Table,
    TaskSummary,
)
from trivium.apps.study.order import orders_of
from trivium.apps.study.runs import Plan
from trivium.parts.tasks import Task
from trivium.recipe import Recipe
from trivium.recipe.budget import Reported
from trivium.run.folder.differences import ABSENT, differences
from trivium.run.folder.environment import Environment, environment, read_environment
from trivium.run.folder.names import SCORES
from trivium.run.folder.scores import Cost, Scores, read_scores
from trivium.run.rows.splits import TRAIN

SPLIT = "dev"
DevRows = tuple[str, str, str, int | None]
"""What names dev rows in a recipe: the data folder, the task, the file, and at most so many."""


def summarise(plan: Plan, failed: Mapping[Run, str]) -> Table:
    """The table, from the folders of the runs as they are now.

    failed: why, for runs that failed in this call.
    """
    judged = _judged_rows(plan)
    rows = [_row(plan, name, failed, judged) for name in plan.paths]
    return Table(
        split=SPLIT,
        seeds=list(range(plan.seeds)),
        budget=plan.budget,
        changes=list(plan.changes),
        date=_date(plan),
        machines=_machines(plan),
        recipes=rows,
        orders=orders_of(rows),
        command=plan.command,
    )


def _row(plan: Plan, name: str, failed: Mapping[Run, str], judged: Mapping[DevRows, int]) -> Row:
    """Means and sample standard deviations are over the finished runs."""
    runs, reported = plan.runs_of(name), plan.reported[name]
    like = _compared_to(plan, name)
    finished = [run for run in runs if run.is_finished]
    scores = [read_scores(run.folder) for run in finished]
    return Row(
        name=name,
        file=str(plan.paths[name]),
        encoder=_encoder(runs[0]),
        ensemble=_ensemble(runs[0]),
        reported=_reported(reported, _encoder(runs[0])) if reported else None,
        unlike=like,
        differs=_unlike(_settings(plan.runs_of(like)[0]), _settings(runs[0])) if like else {},
        runs=[_state(run, failed) for run in runs],
        n=len(finished),
        tasks=_tasks(runs[0].recipe, scores, judged),
        overall=Means(
            leaderboard=_summary([found.overall_of(SPLIT, "leaderboard") for found in scores]),
            mean=_summary([found.overall_of(SPLIT, "mean") for found in scores]),
        ),
        cost=_costs([run.cost for run in finished]),
    )


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
    reported = plan.reported[name]
    return reported.report if reported else None


def _encoder(run: Run) -> str:
    """Of an ensemble all that its members have."""
    if isinstance(run, EnsembleRun):
        return ", ".join(dict.fromkeys(member.recipe.encoder for member in run.members))
    return run.recipe.encoder


def _ensemble(run: Run) -> EnsembleOf | None:
    if not isinstance(run, EnsembleRun):
        return None
    return EnsembleOf(run.how, [member.name for member in run.members])


def _reported(reported: Reported, encoder: str) -> ReportedScores:
    same = Path(encoder).name.casefold() == Path(reported.encoder).name.casefold()
    return ReportedScores(
        reported.source, reported.encoder, reported.scores, reported.report, beside=same
    )


def _date(plan: Plan) -> str:
    """The day of the last score."""
    days = [(run.folder / SCORES).stat().st_mtime for run in plan.runs if run.is_finished]
    return date.fromtimestamp(max(days, default=time.time())).isoformat()


def _machines(plan: Plan) -> list[Machine]:
    """What the finished runs were made on, each machine once; before there are any, this one."""
    made = [read_environment(run.folder) for run in plan.runs if run.is_finished]
    known = [found for found in made if found is not None] or [environment()]
    return list(dict.fromkeys(map(_machine, known)))


def _machine(made: Environment) -> Machine:
    return Machine(
        made.cpu, made.cpus, made.threads, made.gpu, made.python,
        torch=made.packages.get("torch"), trivium=made.packages.get("trivium"),
    )  # fmt: skip


def _state(run: Run, failed: Mapping[Run, str]) -> RunState:
    state: Literal["done", "failed", "unfinished", "not started"]
    if run in failed:
        state = "failed"
    elif run.is_finished:
        state = "done"
    else:
        state = "unfinished" if run.has_begun else "not started"
    return RunState(run.seed, str(run.folder), str(run.log), state, failed.get(run))


def _settings(run: Run) -> dict[str, Any]:
    return run.recipe.model_dump(
        mode="json", exclude={"seed": True, "tasks": {"__all__": {"name"}}}
    )


def _unlike(first: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Dotted path -> the value in each; None for a setting that is absent or says nothing."""
    pairs = {
        place: [None if value is ABSENT else value for value in values]
        for place, *values in differences(first, other)
    }
    return {place: values for place, values in pairs.items() if values != [None, None]}


def _tasks(
    recipe: Recipe, scores: Sequence[Scores], judged: Mapping[DevRows, int]
) -> dict[str, TaskSummary]:
    summaries = {}
    for name, task in recipe.tasks.items():
        if recipe.has_dev(name):
            summary, seen = (
                _summary([each.metric(name, split, task.metric) for each in scores])
                for split in (SPLIT, TRAIN)
            )
            dev = _judged_on(recipe, task, judged)
            summaries[name] = TaskSummary(
                task.metric, dev, summary.mean, summary.sd, summary.values,
                seen=None if seen.mean is None else seen,
            )  # fmt: skip
    return summaries


def _costs(costs: Sequence[Cost]) -> Costs:
    return Costs(
        seconds=_summary([cost.seconds for cost in costs]),
        tokens_per_s=_summary([cost.tokens_per_s for cost in costs]),
        trained_parameters=_summary([cost.trained_parameters for cost in costs]),
        peak_memory_bytes=_summary([cost.peak_memory_bytes for cost in costs]),
    )


def _judged_rows(plan: Plan) -> dict[DevRows, int]:
    """How many dev rows each task of the finished runs was judged on."""
    counts: dict[DevRows, int] = {}
    for run in plan.runs:
        if not run.is_finished:
            continue
        scores = read_scores(run.folder)
        for name, task in run.recipe.tasks.items():
            rows = scores.metric(name, SPLIT, "rows")
            if rows is not None and task.dev is not None:
                counts.setdefault(_dev_rows(run.recipe, task), int(rows))
    return counts


def _judged_on(recipe: Recipe, task: Task, judged: Mapping[DevRows, int]) -> str:
    """The dev rows, in a word: scores on others are scores of something else.

    Before anything was judged on them, as many as the recipe allows.
    """
    if task.dev is None:  # masked words, which have those of other tasks
        return ", ".join(task.lenders)
    rows = judged.get(_dev_rows(recipe, task), task.dev.rows)
    return str(task.dev_words()) + (f", {rows:,} rows" if rows else "")


def _dev_rows(recipe: Recipe, task: Task) -> DevRows:
    assert task.dev is not None
    return recipe.data, task.name, str(task.dev_words()), task.dev.rows


def _summary(values: Sequence[float | None]) -> Summary:
    """values: by seed. One that is not finite counts as one that is not there."""
    numbers = [value for value in values if value is not None and math.isfinite(value)]
    return Summary(
        mean=statistics.fmean(numbers) if numbers else None,
        sd=statistics.stdev(numbers) if len(numbers) > 1 else None,
        values=[v if v is not None and math.isfinite(v) else None for v in values],
    )
