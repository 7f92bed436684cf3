"""Scores, costs, recipes and environments."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from trivium.apps.report.figure import Panel, Section, Table, rows_in_words, share
from trivium.apps.report.quality import is_ordered, one_off, order_in_doubt, places
from trivium.apps.report.runs import SPLIT, ReportedRun, names_of, same_rows
from trivium.parts.tasks import Classification
from trivium.run.folder.below import start_notes
from trivium.run.folder.finished import FinishedRun
from trivium.run.folder.scores import Mean, Scores
from trivium.run.rows.splits import JUDGED
from trivium.run.screen.grid import MINILM

MEANS: dict[Mean, str] = {
    "leaderboard": "mean over tasks, a correlation r counted as (r + 1) / 2",
    "mean": "mean over tasks, correlations as they are",
}
NOTHING = "–"


def headline(runs: Sequence[ReportedRun]) -> Section:
    section = Section(
        "scores",
        "Scores",
        "The main metric of every task, large, with the others below it; on dev, where no other "
        "split is named. More is better.",
    )
    if len(runs) == 1:
        section.panels.append(Panel(template="cards.html.j2", values=_cards(runs[0]), wide=True))
    else:
        section.panels.append(Panel(table=_scores_table(runs), wide=True))
        section.panels.append(Panel("Every metric", table=_metrics_table(runs), wide=True))
    if len(runs) == 1:
        section.notes.append(_seed_note(runs[0]))
    section.notes[:0] = [
        f"{run.name}: {line}"
        for run in runs
        for line in start_notes(run.run.recipe, run.run.scores)
    ]
    if any(run.run.recipe.encoder == "minilm" for run in runs):
        section.notes.append(MINILM)
    return section


def _seed_note(run: ReportedRun) -> str:
    if run.run.is_ensemble:
        return "An ensemble's members have seeds of their own."
    return (
        f"One seed ({run.run.recipe.seed}): how much these scores move with the seed is not known. "
        "Train the same recipe with other seeds (`--set seed=1`) and report the runs together."
    )


@dataclass(frozen=True, slots=True)
class Card:
    """One task's scores on a split, or the means over tasks; `cards.html.j2` shows it."""

    title: str
    metric: str
    value: str
    more: list[tuple[str, str]]
    """Other metrics with their values."""
    rows: str
    """What the scores are of."""
    is_overall: bool = False


def _cards(run: ReportedRun) -> list[Card]:
    """The overall ones first."""
    means = [_overall_card(run.run.scores, split) for split in run.run.scores.overall]
    tasks = run.run.scores.tasks
    judged = [(name, split) for name in tasks for split in tasks[name] if split in JUDGED]
    return means + [_task_card(run, name, split) for name, split in judged]


def _overall_card(scores: Scores, split: str) -> Card:
    return Card(
        title="Overall" if split == SPLIT else f"Overall · {split}",
        metric="leaderboard mean",
        value=score(scores.overall_of(split, "leaderboard")),
        more=[("mean", score(scores.overall_of(split, "mean")))],
        rows=f"leaderboard: {MEANS['leaderboard']}; mean: {MEANS['mean']}",
        is_overall=True,
    )


def _task_card(run: ReportedRun, name: str, split: str) -> Card:
    main, metrics = run.metric(name), run.run.scores.of(name, split)
    more = [(m, score(value)) for m, value in metrics.items() if m not in (main, "rows")]
    return Card(
        title=name if split == SPLIT else f"{name} · {split}",
        metric=main,
        value=score(metrics.get(main)),
        more=more
        + (_one_off(run, name) if split == SPLIT else [])
        + _before_training(run, name, split),
        rows=f"{rows_in_words(metrics['rows'])} of {split}" if "rows" in metrics else "",
    )


def _before_training(run: ReportedRun, name: str, split: str) -> list[tuple[str, str]]:
    """The main metric of a linear probe, and of always the usual answer."""
    known = run.run.scores.baselines.get(name)
    if known is None or split not in known.majority:
        return []
    return [
        (title, score(scores.get(split, {}).get(known.metric)))
        for title, scores in (
            ("linear probe", known.probe.scores),
            ("always the usual answer", known.majority),
        )
    ]


def _one_off(run: ReportedRun, name: str) -> list[tuple[str, str]]:
    answers = run.answers.get(name)
    if answers is None or not is_ordered(answers.task):
        return []
    assert isinstance(answers.task, Classification)
    shares = one_off(answers.target_B.tolist(), places(answers.task, answers.predictions))
    doubt = order_in_doubt(answers.task)
    title = f"exactly one class off, {doubt}" if doubt else "exactly one class off"
    found = [(title, share(shares.exactly)), ("at most one off", share(shares.within))]
    return found[: 1 if "one_off" in answers.task.judged_by else 2]  # there, as a score


Found = Callable[[ReportedRun], float | None]


@dataclass(frozen=True)
class _Column:
    title: str
    find: Found
    is_ranked: bool
    """Whether its scores are of the same rows, as files show."""


def _scores_table(runs: Sequence[ReportedRun]) -> Table:
    """A row per run: the tasks' main metrics, both means, seed."""
    by_task = [_columns_of(runs, name) for name in names_of(runs)]
    same_tasks = len({tuple(sorted(run.run.recipe.tasks)) for run in runs}) == 1
    all_same = same_tasks and all(len(of_task) == 1 and of_task[0].is_ranked for of_task in by_task)
    columns = [column for of_task in by_task for column in of_task]
    columns += [_Column(f"overall {kind}", _overall(kind), all_same) for kind in MEANS]
    rows = [
        [
            run.name,
            NOTHING if run.run.is_ensemble else str(run.run.recipe.seed),
            *(score(column.find(run)) for column in columns),
        ]
        for run in runs
    ]
    best: set[tuple[int, int]] = set()
    for place, column in enumerate(columns, start=2):
        best |= _best(rows, place) if column.is_ranked else set()
    return Table(["run", "seed", *(column.title for column in columns)], rows, best=frozenset(best))


def _columns_of(runs: Sequence[ReportedRun], name: str) -> list[_Column]:
    """A task's main metric, with a column for each set of dev rows: scores on others are scores of
    something else. Of runs without answers it is not known which rows they were asked."""
    judged = [run for run in runs if run.run.scores.of(name, SPLIT)]
    groups = same_rows(judged, name)
    is_known = {run.place for group in groups for run in group}
    unknown = [run for run in judged if run.place not in is_known]
    members = [(group, True) for group in groups] + ([(unknown, False)] if unknown else [])
    if not members:
        members = [([run for run in runs if name in run.run.recipe.tasks], True)]
    columns = []
    for group, is_ranked in members:
        where = f" · {_dev_rows(group[0], name)}" if len(members) > 1 else ""
        columns += [
            _Column(f"{name} {metric}{where}", _of(name, metric, group), is_ranked)
            for metric in sorted({run.metric(name) for run in group})
        ]
    return columns


def _dev_rows(run: ReportedRun, name: str) -> str:
    table = run.run.recipe.tasks[name].dev_words()
    rows = rows_in_words(run.run.scores.metric(name, SPLIT, "rows"))
    return f"{table}, {rows}" if table else rows


def _best(rows: Sequence[Sequence[str]], column: int) -> set[tuple[int, int]]:
    """Cells with the most of a column, unless all are alike."""
    values = {row[column] for row in rows} - {NOTHING}
    if len(values) < 2:
        return set()
    return {(p, column) for p, row in enumerate(rows) if row[column] == max(values, key=float)}


def _metrics_table(runs: Sequence[ReportedRun]) -> Table:
    """Every score of every task and split, a column per run."""
    keys = dict.fromkeys(
        (name, split, metric)
        for run in runs
        for name, splits in run.run.scores.tasks.items()
        for split, metrics in splits.items()
        for metric in metrics
    )
    rows = []
    for name, split, metric in keys:
        values = [run.run.scores.metric(name, split, metric) for run in runs]
        shown = [_count(value) if metric == "rows" else score(value) for value in values]
        rows.append([name, split, metric, *shown])
    for name in names_of(runs):
        by_run = [dict(_one_off(run, name) + _before_training(run, name, SPLIT)) for run in runs]
        for title in dict.fromkeys(title for scores in by_run for title in scores):
            shares = [scores.get(title, NOTHING) for scores in by_run]
            rows.append([name, SPLIT, title, *shares])
    rows.sort(key=lambda row: [*names_of(runs), row[0]].index(row[0]))
    return Table(["task", "split", "metric", *(run.name for run in runs)], rows, wordy=3)


def _of(name: str, metric: str, runs: Sequence[ReportedRun]) -> Found:
    scores = {run.place: run.run.scores.metric(name, SPLIT, metric) for run in runs}
    return lambda run: scores.get(run.place)


def _overall(kind: Mean) -> Found:
    return lambda run: run.run.scores.overall_of(SPLIT, kind)


def score(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.4f}"


def _count(value: float | None) -> str:
    return NOTHING if value is None else f"{value:,.0f}"


def cost(runs: Sequence[ReportedRun]) -> Section:
    """The table of costs."""
    columns: dict[str, Callable[[FinishedRun], str]] = {
        "seconds": lambda run: _count(run.scores.cost.seconds),
        "tokens/s": lambda run: _count(run.scores.cost.tokens_per_s),
        "peak memory, GiB": lambda run: _gibibytes(run.scores.cost.peak_memory_bytes),
        "parameters": lambda run: _count(run.scores.cost.parameters),
        "trained": lambda run: _count(run.scores.cost.trained_parameters),
        "model on disk, MiB": lambda run: f"{run.model_bytes / 2**20:,.1f}",
        "precision": lambda run: run.scores.precision or NOTHING,
    }
    rows = [[run.name, *(show(run.run) for show in columns.values())] for run in runs]
    return Section(
        "cost",
        "Cost",
        "What training took: seconds of training steps, word pieces per second, memory at its "
        "peak, and the size of what is left. Less is better, but for tokens/s.",
        [Panel(table=Table(["run", *columns], rows), wide=True)],
        [f"{run.name} was not trained itself." for run in runs if not run.run.scores.cost.seconds],
    )


def _gibibytes(value: float | None) -> str:
    return NOTHING if value is None else f"{value / 2**30:.2f}"


def recipes(runs: Sequence[ReportedRun]) -> Section:
    return Section(
        "recipe",
        "Recipe and environment",
        "Everything that made the run: save the recipe as a file, install the versions, and train.",
        [
            Panel(run.name, template="recipe.html.j2", values=_recipe(run), wide=True)
            for run in runs
        ],
    )


def _recipe(run: ReportedRun) -> dict[str, Any]:
    """What `recipe.html.j2` shows."""
    made = run.run.environment
    pins = " ".join(f"{n}=={v.partition('+')[0]}" for n, v in made.packages.items())
    shown = shlex.join(["trivium", *made.command[1:]]) if made.command else NOTHING
    steps = [f"pip install {pins}"] if pins else []
    if run.story.stages:
        steps.append("trivium train recipe.yaml --out runs/again")
    else:
        steps.append(shown)
    facts = {
        "command": shown,
        "seed": NOTHING if run.run.is_ensemble else run.run.recipe.seed,
        "python": made.python or NOTHING,
        "platform": made.platform or NOTHING,
        "processors": made.cpus or NOTHING,
        "threads used": made.threads or NOTHING,
        "gpu": made.gpu or "none",
        **made.packages,
    }
    return {
        "yaml": run.recipe_text,
        "reproduce": "\n".join(steps),
        "facts": facts,
        "id": f"recipe-{run.place}",
    }
