"""Learning: losses and dev scores over steps, and dev scores over time."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from trivium.apps.report.figure import (
    Figure,
    Panel,
    Section,
    Trace,
    axis,
    curve,
    plain,
    smoothed,
    thinned,
)
from trivium.apps.report.runs import ReportedRun, names_of
from trivium.apps.report.story import Evaluation
from trivium.parts.tasks.base import CORRELATIONS
from trivium.recipe.probed import fall_back

NO_JOURNAL = (
    "has no journal, so how it came about is not known (an ensemble or a soup is not trained)"
)
LEAST_SPAN, SPANS = 5, 40
"""A loss is smoothed over a fortieth of its steps, or five."""

SEEN = (
    " The thin line with hollow marks is the score on a fixed sample of training rows "
    "(`train_rows`), judged as dev is: what lies between the two was learned by heart."
)

LEFT_OUT = " Left out is where a stage judged some of them alone."

Value = Callable[[Evaluation], float | None]


def learning(runs: Sequence[ReportedRun]) -> Section:
    section = Section(
        "learning",
        "Learning curves",
        "Training loss above (each step faint, smoothed strong), score on dev below; dotted lines "
        "mark stages, a star the step whose model was kept. A loss that falls while dev stands "
        "still is overfitting." + (SEEN if any(_has_seen(run) for run in runs) else ""),
        notes=without_journal(runs) + [note for run in runs for note in _refusals(run, len(runs))],
    )
    for task in names_of(runs):
        shown = [run for run in runs if task in run.story.losses or _judged(run, task)]
        if shown:
            figure, note = _learning_figure(task, shown, several=len(runs) > 1)
            section.panels.append(Panel(task, note, figure))
    return section


def time(runs: Sequence[ReportedRun]) -> Section:
    section = Section(
        "time",
        "Time against score",
        "The dev score at every evaluation against the seconds of training until then (judging and "
        "saving not counted). Further left and higher up is better.",
        notes=without_journal(runs),
    )
    timed = [run for run in runs if any(e.seconds is not None for e in run.story.evaluations)]
    section.notes.extend(
        f"{run.name}: its journal holds no times of evaluations"
        for run in runs
        if run not in timed and run.story.evaluations
    )
    if not timed:
        return section
    whole = [run for run in timed if any(_is_of_all(run, e) for e in run.story.evaluations)]
    if whole:
        note = "Mean over tasks; r counts as (r + 1) / 2." + (
            LEFT_OUT if _some_are_not(timed) else ""
        )
        section.panels.append(Panel("Overall", note, _overall_figure(whole)))
    for task in names_of(timed):
        shown = [run for run in timed if _judged(run, task)]
        if shown:
            metric = shown[0].metric(task)
            value = _score_of(task, metric)
            section.panels.append(
                Panel(task, "", _time_figure(f"{task}: dev {metric}", shown, value, metric=metric))
            )
    return section


def _overall_figure(runs: Sequence[ReportedRun]) -> Figure:
    return _time_figure("overall (leaderboard mean)", runs, lambda e: e.overall, _is_of_all)


def _is_of_all(run: ReportedRun, evaluation: Evaluation) -> bool:
    """Whether its mean is over all tasks that the run's is over: a stage may judge some alone."""
    tasks = run.run.recipe.tasks
    wanted = {
        name
        for name, splits in run.run.scores.tasks.items()
        if "dev" in splits and name in tasks and not tasks[name].auxiliary
    }
    return wanted <= evaluation.scores.keys()


def _some_are_not(runs: Sequence[ReportedRun]) -> bool:
    return any(not _is_of_all(run, each) for run in runs for each in run.story.evaluations)


def without_journal(runs: Sequence[ReportedRun]) -> list[str]:
    return [f"{run.name} {run.story.mixed or NO_JOURNAL}." for run in runs if not run.story.stages]


def _refusals(run: ReportedRun, runs: int) -> list[str]:
    return [f"{run.name}: {note}" if runs > 1 else note for note in run.story.refusals]


def _judged(run: ReportedRun, task: str) -> bool:
    return any(task in evaluation.scores for evaluation in run.story.evaluations)


def _score_of(task: str, metric: str) -> Value:
    return lambda evaluation: evaluation.scores.get(task, {}).get(metric)


def _learning_figure(
    task: str, runs: Sequence[ReportedRun], *, several: bool
) -> tuple[Figure, str]:
    metric = runs[0].metric(task)
    traces, judged, spans = [], [], []
    for run in runs:
        if task in run.story.losses:
            steps, losses, smooth, span = _losses(run, task)
            spans.append(span)
            faint = {"run": run.place, "faint": True}
            traces += [
                curve(run.name, run.place, steps, losses, meta=faint, showlegend=False,
                      hoverinfo="skip", line={"width": 1, "dash": "solid"}),
                curve(run.name, run.place, steps, smooth, hovertemplate=_hover("loss", run)),
            ]  # fmt: skip
        judged += _seen_traces(run, task, metric) + _dev_traces(run, task, metric)
    layout: dict[str, Any] = {
        "xaxis": axis("step", anchor="y2", rangemode="tozero"),
        "yaxis": axis("training loss", domain=[0.56, 1], rangemode="tozero"),
        "yaxis2": axis(f"dev {metric}", domain=[0, 0.44], **_within(judged, metric)),
        "showlegend": several,
    } | _stage_marks(runs)
    label = f"{task}: training loss and dev {metric} over steps"
    note = f"Smoothed over about {max(spans):,} steps." if spans else ""
    return Figure(label, traces + judged, layout, 420), note


def _within(judged: Sequence[Trace], metric: str = "") -> dict[str, Any]:
    """Keeps an axis to what a score can be, since one value alone is drawn amid a range of 2."""
    values = [value for trace in judged for value in trace["y"] if value is not None]
    low = -1 if metric in CORRELATIONS else 0
    if not all(low <= value <= 1 for value in values):  # a score of another kind
        return {}
    return {"autorangeoptions": {"clipmin": low, "clipmax": 1}}


def _losses(
    run: ReportedRun, task: str
) -> tuple[list[int], list[float | None], list[float | None], int]:
    """Steps, losses, smoothed losses, with a gap where a stage begins; and the smoothing's span."""
    series = run.story.losses[task]
    span = max(LEAST_SPAN, round(len(series.steps) / SPANS))
    points: list[tuple[int, float | None, float | None]] = []
    starts = [start for _, start in run.story.stages] + [series.steps[-1] + 1]
    for start, end in itertools.pairwise(starts):
        chosen = [i for i, step in enumerate(series.steps) if start < step <= end]
        if not chosen:
            continue
        values = [series.values[i] for i in chosen]
        rows = zip((series.steps[i] for i in chosen), values, smoothed(values, span), strict=True)
        points += [(start, None, None)] if points else []
        points += thinned(list(rows))
    steps, raw, smooth = zip(*points, strict=True)
    return list(steps), list(raw), list(smooth), span


def _has_seen(run: ReportedRun) -> bool:
    return any(evaluation.seen for evaluation in run.story.evaluations)


def _seen_traces(run: ReportedRun, task: str, metric: str) -> list[Trace]:
    """The score on training rows; nothing where a run was not judged on any."""
    points = [
        (evaluation.step, evaluation.seen[task][metric])
        for evaluation in run.story.evaluations
        if metric in evaluation.seen.get(task, {})
    ]
    if not points:
        return []
    steps, values = zip(*points, strict=True)
    line = curve(
        run.name, run.place, steps, values, yaxis="y2", mode="lines+markers", showlegend=False,
        hovertemplate=_hover(f"{metric} on training rows", run), line={"width": 1},
    )  # fmt: skip
    line["marker"] = line["marker"] | {"symbol": f"{line['marker']['symbol']}-open"}
    return [line]


def _dev_traces(run: ReportedRun, task: str, metric: str) -> list[Trace]:
    points = [
        (evaluation.step, evaluation.scores[task][metric])
        for evaluation in run.story.evaluations
        if metric in evaluation.scores.get(task, {})
    ]
    if not points:
        return []
    trained = [point for point in points if point[0] or not _falls_back(run)]
    steps, values = zip(*trained, strict=True) if trained else ((), ())
    traces = [
        curve(run.name, run.place, steps, values, yaxis="y2", mode="lines+markers",
              showlegend=False, hovertemplate=_hover(f"dev {metric}", run)),
    ]  # fmt: skip
    at = run.story.kept
    if at is not None and (kept := dict(points).get(at)) is not None:
        star = curve(
            run.name, run.place, [at], [kept], yaxis="y2", mode="markers",
            showlegend=False, hovertemplate=_hover(f"kept: dev {metric}", run),
        )  # fmt: skip
        star["marker"] = {"symbol": "star", "size": 15, "line": {"width": 1}}
        traces.append(star)
    return traces


def _hover(what: str, run: ReportedRun) -> str:
    return f"{plain(run.name)}<br>step %{{x:,}}: {plain(what)} %{{y:.4f}}<extra></extra>"


def _stage_marks(runs: Sequence[ReportedRun]) -> dict[str, Any]:
    """A line where a stage begins, in runs that have several; stages of runs may coincide."""
    marks: dict[int, dict[str, None]] = {}
    for run in runs:
        for name, start in run.story.stages if len(run.story.stages) > 1 else []:
            marks.setdefault(start, {})[name] = None
    shapes = [
        {"type": "line", "xref": "x", "yref": "paper", "x0": start, "x1": start, "y0": 0, "y1": 1,
         "line": {"width": 1, "dash": "dot"}}
        for start in marks
    ]  # fmt: skip
    notes = [
        {"x": start, "y": 0.5, "xref": "x", "yref": "paper", "text": plain(", ".join(names)),
         "showarrow": False, "xanchor": "left", "yanchor": "middle", "font": {"size": 11}}
        for start, names in marks.items()
    ]  # fmt: skip
    return {"shapes": shapes, "annotations": notes}


def _falls_back(run: ReportedRun) -> bool:
    """Whether what it was judged by before the first step is another model than it trained."""
    return bool(fall_back(run.run.recipe))


def _time_figure(
    label: str,
    runs: Sequence[ReportedRun],
    value: Value,
    counts: Callable[[ReportedRun, Evaluation], bool] = lambda *_: True,
    *,
    metric: str = "",
) -> Figure:
    traces = []
    for run in runs:
        points = [
            (evaluation.seconds, score)
            for evaluation in run.story.evaluations
            if evaluation.seconds is not None and (score := value(evaluation)) is not None
            if evaluation.step or not _falls_back(run)
            if counts(run, evaluation)
        ]
        if not points:
            continue
        seconds, values = zip(*points, strict=True)
        hover = f"{plain(run.name)}<br>%{{x:,.0f}} s: %{{y:.4f}}<extra></extra>"
        traces.append(
            curve(run.name, run.place, seconds, values, mode="lines+markers", hovertemplate=hover)
        )
    layout = {
        "xaxis": axis("seconds of training", rangemode="tozero"),
        "yaxis": axis(label.partition(": ")[2] or "overall", **_within(traces, metric)),
        "showlegend": len(runs) > 1,
    }
    return Figure(f"{label} against seconds of training", traces, layout)
