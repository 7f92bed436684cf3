"""Whether tasks pull the shared encoder in different directions."""

from collections.abc import Iterator, Sequence
from math import ceil, isfinite
from statistics import fmean

from trivium.apps.report.curves import LEAST_SPAN, SPANS, without_journal
from trivium.apps.report.figure import (
    Figure,
    Panel,
    Section,
    Table,
    axis,
    curve,
    cut,
    few_digits,
    named_axis,
    plain,
    share,
    smoothed,
    thinned,
)
from trivium.apps.report.headline import NOTHING
from trivium.apps.report.runs import ReportedRun

HOW = (
    "Set `conflicts_every: 10` in a stage whose steps hold batches of several tasks (`sampler: "
    "joint`, or `batches_per_step: 2` or more) and train again: every tenth step is then measured."
)
MOST_COLUMNS = 120
"""Measured steps of a map by layer."""

Pair = tuple[str, str]


def conflicts(runs: Sequence[ReportedRun]) -> Section:
    section = Section(
        "conflicts",
        "Task conflicts",
        "Cosine between two tasks' gradients of what they share. Above 0 a step for one also helps "
        "the other, below 0 it harms it, and near 0 they leave one another alone.",
        notes=without_journal(runs),
    )
    measured = [run for run in runs if run.story.cosines]
    section.notes.extend(_unmeasured([run for run in runs if run.story.stages], len(runs)))
    if not measured:
        return section
    section.panels.append(_table(measured))
    pairs = dict.fromkeys(pair for run in measured for pair in run.story.cosines)
    section.panels.extend(_over_time(pair, measured) for pair in pairs)
    for run in measured:
        for pair in pairs:
            if any(pair in each for each in run.story.layers.values()):
                section.panels.append(_by_layer(pair, run, several=len(runs) > 1))
        if not run.story.layers:
            section.notes.append(
                f"{run.name}: cosines by layer were not measured; `conflicts_every` does that."
            )
    return section


def _unmeasured(runs: Sequence[ReportedRun], several: int) -> Iterator[str]:
    """Why some runs are not here, and what to do about it."""
    without = [run for run in runs if not run.story.cosines]
    alone = [run.name for run in without if len(run.run.recipe.tasks) < 2]
    others = [run.name for run in without if len(run.run.recipe.tasks) > 1]
    for names, why in (
        (alone, "with a single task, so there is nothing to compare."),
        (others, f"without measuring this. {HOW}"),
    ):
        if names:
            was = "were" if len(names) > 1 else "was"
            who = f"{', '.join(names)} {was}" if several > 1 else "This run was"
            yield f"{who} trained {why}"


def _table(runs: Sequence[ReportedRun]) -> Panel:
    rows = [
        [run.name, " and ".join(pair), *_figures(series.values)]
        for run in runs
        for pair, series in run.story.cosines.items()
    ]
    heads = ["run", "tasks", "steps measured", "mean cosine", "steps below 0"]
    return Panel("In numbers", table=Table(heads, rows, wordy=2), wide=True)


def _figures(cosines: Sequence[float]) -> list[str]:
    """How many, their mean, and the share of those below 0; of those that are numbers."""
    values = [value for value in cosines if isfinite(value)]
    if not values:
        return ["0", NOTHING, NOTHING]
    below = sum(value < 0 for value in values) / len(values)
    return [f"{len(values):,}", f"{fmean(values):+.3f}", share(below)]


def _over_time(pair: Pair, runs: Sequence[ReportedRun]) -> Panel:
    traces = []
    for run in runs:
        if pair not in run.story.cosines:
            continue
        series = run.story.cosines[pair]
        span = max(LEAST_SPAN, round(len(series.steps) / SPANS))
        points = thinned(
            list(zip(series.steps, series.values, smoothed(series.values, span), strict=True))
        )
        steps, raw, smooth = zip(*points, strict=True)
        hover = f"{plain(run.name)}<br>step %{{x:,}}: cosine %{{y:.3f}}<extra></extra>"
        traces += [
            curve(run.name, run.place, steps, raw, meta={"run": run.place, "faint": True},
                  line={"width": 1, "dash": "solid"}, showlegend=False, hoverinfo="skip"),
            curve(run.name, run.place, steps, smooth, hovertemplate=hover),
        ]  # fmt: skip
    title = " and ".join(pair)
    layout = {
        "xaxis": axis("step"),
        "yaxis": axis("cosine", zeroline=True),
        "showlegend": len(runs) > 1,
    }
    figure = Figure(f"Cosine between the gradients of {title} over steps", traces, layout)
    return Panel(title, "All that the two share, smoothed.", figure)


def _by_layer(pair: Pair, run: ReportedRun, *, several: bool) -> Panel:
    layers = [name for name, each in run.story.layers.items() if pair in each]
    steps = thinned(run.story.layers[layers[0]][pair].steps, MOST_COLUMNS)
    values = [
        [few_digits(value_at[step]) if step in value_at else None for step in steps]
        for name in layers
        for series in (run.story.layers[name][pair],)
        for value_at in (dict(zip(series.steps, series.values, strict=True)),)
    ]
    title = " and ".join(pair)
    most = _largest(run)
    trace = {
        "type": "heatmap", "x": steps, "y": list(range(len(layers))), "z": values,
        "zmin": -most, "zmid": 0, "zmax": most, "meta": {"scale": "diverging"},
        "colorbar": {"thickness": 8, "orientation": "h", "y": 1.02, "yanchor": "bottom",
                     "outlinewidth": 0, "nticks": 5},
        "hovertext": [[plain(name)] * len(steps) for name in layers],
        "hovertemplate": "step %{x:,}, %{hovertext}: cosine %{z:.3f}<extra></extra>",
    }  # fmt: skip
    layout = {"xaxis": axis("step"), "yaxis": named_axis("", [*map(cut, layers)])}
    figure = Figure(
        f"Cosine between the gradients of {title} by layer and step", [trace], layout,
        150 + 24 * len(layers),
    )  # fmt: skip
    note = "By layer, the input at the bottom: blue agrees, orange conflicts."
    return Panel(f"{title} · {run.name}" if several else title, note, figure)


def _largest(run: ReportedRun) -> float:
    """What the strongest colour of a run's maps stands for: all of them have the same scale."""
    every = [
        abs(value)
        for each in run.story.layers.values()
        for series in each.values()
        for value in series.values
        if isfinite(value)
    ]
    return min(1.0, ceil(10 * max(every, default=0)) / 10 or 0.1)
