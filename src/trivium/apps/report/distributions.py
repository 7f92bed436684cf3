"""How often labels and scores occur: in training, on dev, among answers."""

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from trivium.apps.report.answers import hover_text
from trivium.apps.report.data import Look
from trivium.apps.report.figure import (
    Figure,
    Panel,
    Section,
    Trace,
    axis,
    cut,
    named_axis,
    plain,
)
from trivium.apps.report.quality import chosen, places
from trivium.apps.report.runs import ReportedRun, names_of, same_rows
from trivium.parts.tasks import Classification, Labelled, Multilabel, Regression, Task
from trivium.run.folder.predictions import Answers
from trivium.types import Target

HISTOGRAM_BINS = 20
MOST_UPRIGHT, MOST_LETTERS = 10, 34
"""Labels, and letters of all of them, that have room below a picture a third of the page wide;
others stand beside bars that lie, each at its full length of `LONGEST`."""
MOST_LABELS = 80
"""In a picture; of more, those with the largest shares are drawn."""
BAR_HEIGHT, LEAST_HEIGHT = 5, 20
"""Pixels of a bar that lies, and of a label with its bars."""
PATTERNS = ("", "/", "x", ".", "-", "+")
"""Of the bars of different training sets, which have the same colour."""


def distributions(runs: Sequence[ReportedRun], looks: Sequence[Look]) -> Section:
    """looks: what each run's files hold."""
    section = Section(
        "labels",
        "Label distributions",
        "How often each label (or score) occurs in training, on dev, and among the answers. Where "
        "dev differs from training the rows are of another kind; where answers differ from dev "
        "the model prefers some labels.",
        notes=[note for look in looks if not look.train for note in look.notes],
    )
    for name in names_of(runs):
        groups = same_rows(runs, name)
        for group in groups:
            title = f"{name} · {', '.join(r.name for r in group)}" if len(groups) > 1 else name
            trained = _trained(name, group, looks)
            section.panels.append(_distribution(title, name, group, trained))
    return section


def _trained(
    name: str, runs: Sequence[ReportedRun], looks: Sequence[Look]
) -> list[tuple[str, list[Any]]]:
    """Every different training set of the runs, with a name that says whose it is."""
    groups: list[tuple[list[Any], list[str]]] = []
    for run in runs:
        targets = looks[run.place].train.get(name)
        if targets is None:
            continue
        whose = next((names for other, names in groups if other == targets), None)
        if whose is None:
            groups.append((targets, [run.name]))
        else:
            whose.append(run.name)
    return [
        ("train" if len(names) == len(runs) else f"train · {', '.join(names)}", targets)
        for targets, names in groups
    ]


def _distribution(
    title: str,
    name: str,
    runs: Sequence[ReportedRun],
    trained: Sequence[tuple[str, Sequence[Target]]],
) -> Panel:
    answers = runs[0].answers[name]
    task = answers.task
    bars: list[tuple[str, Sequence[Target], Trace]] = [
        (who, targets, {"meta": {"ground": 0}, "marker": {"pattern": {"shape": shape}}})
        for (who, targets), shape in zip(trained, itertools.cycle(PATTERNS))
    ]
    bars.append(("dev", _targets(task, answers.target_B), {"meta": {"ground": 1}}))
    for run in runs:
        who = f"predicted · {run.name}" if len(runs) > 1 else "predicted"
        bars.append((who, _said(run.answers[name]), {"meta": {"run": run.place}}))
    rates = _histogram if isinstance(task, Regression) else _rates
    traces = [
        {"type": "bar", "name": plain(who), **more,
         "y": [round(rate, 5) for rate in rates(task, targets)],
         "hovertemplate": f"{plain(who)}: %{{customdata}} %{{y:.1%}}<extra></extra>"}
        for who, targets, more in bars
    ]  # fmt: skip
    label = f"{title}: label distributions"
    if isinstance(task, Regression):
        return Panel(title, "", _of_scores(label, traces, task))
    return _of_labels(title, label, traces, _names(task))


def _of_scores(label: str, traces: Sequence[Trace], task: Regression) -> Figure:
    """traces: bars, each with the share of every part of the range."""
    low, high = task.range
    width = (high - low) / HISTOGRAM_BINS
    middles = [low + (place + 0.5) * width for place in range(HISTOGRAM_BINS)]
    shown = [{**trace, "x": middles, "customdata": _edges(task)} for trace in traces]
    layout = _layout() | {"xaxis": axis("score", range=[low, high]), "yaxis": _shares()}
    return Figure(label, shown, layout, 360)


def _of_labels(title: str, label: str, traces: Sequence[Trace], names: Sequence[str]) -> Panel:
    """traces: bars, each with the share of every label."""
    of_label = list(zip(*(trace["y"] for trace in traces), strict=True))
    largest = sorted(range(len(names)), key=lambda place: -max(of_label[place]))[:MOST_LABELS]
    drawn = sorted(largest)
    beside, whole = [cut(names[n]) for n in drawn], [hover_text((names[n],)) for n in drawn]
    note = ""
    if len(drawn) < len(names):
        note = f"{len(drawn)} of the {len(names):,} labels: those with the largest shares."
    is_upright = len(drawn) <= MOST_UPRIGHT and sum(map(len, beside)) <= MOST_LETTERS
    shown = []
    for trace in traces:
        places, rates = list(range(len(drawn))), [trace["y"][place] for place in drawn]
        bar = {**trace, "x": places, "y": rates, "customdata": whole}
        shown.append(bar if is_upright else _laid(bar))
    if is_upright:
        layout = _layout() | {"xaxis": named_axis("", beside), "yaxis": _shares()}
        return Panel(title, note, Figure(label, shown, layout, 360))
    layout = _layout() | {"xaxis": _shares(), "yaxis": named_axis("", beside, down=True)}
    height = 90 + len(drawn) * max(LEAST_HEIGHT, 6 + BAR_HEIGHT * len(traces))
    figure = Figure(label, shown, layout, max(360, height))
    return Panel(title, note, figure, broad=len(drawn) > MOST_UPRIGHT)


def _laid(bar: Trace) -> Trace:
    """An upright bar, lying."""
    hover = bar["hovertemplate"].replace("%{y:", "%{x:")
    return bar | {"orientation": "h", "x": bar["y"], "y": bar["x"], "hovertemplate": hover}


def _layout() -> dict[str, Any]:
    return {"barmode": "group", "bargap": 0.25, "showlegend": True}


def _shares() -> dict[str, Any]:
    return axis("share of rows", tickformat=".0%", rangemode="tozero")


def _names(task: Task) -> list[str]:
    assert isinstance(task, Labelled)
    return task.names


def _targets(task: Task, target_B: Tensor) -> list[Target]:
    """Targets as rows have them."""
    if isinstance(task, Multilabel):
        return [tuple(row.nonzero().flatten().tolist()) for row in target_B]
    return list(target_B.tolist())


def _said(answers: Answers) -> list[Target]:
    """Answers as targets."""
    task = answers.task
    if isinstance(task, Multilabel):
        return [tuple(each) for each in chosen(task, answers.predictions)]
    if isinstance(task, Classification):
        return [float(place) for place in places(task, answers.predictions)]
    return [float(score) for score in answers.predictions]


def _rates(task: Task, targets: Sequence[Target]) -> list[float]:
    """Share of the rows that have each label."""
    counts: Counter[int] = Counter()
    for target in targets:
        counts.update(target if isinstance(target, tuple) else [int(target)])
    return [counts[place] / max(1, len(targets)) for place in range(len(_names(task)))]


def _histogram(task: Task, targets: Sequence[Target]) -> list[float]:
    """Share of the rows in each part of the range; the last one holds its upper end."""
    assert isinstance(task, Regression)
    low, high = task.range
    width = (high - low) / HISTOGRAM_BINS
    values = [target for target in targets if not isinstance(target, tuple)]
    counts = Counter(min(int((value - low) / width), HISTOGRAM_BINS - 1) for value in values)
    return [counts[place] / max(1, len(values)) for place in range(HISTOGRAM_BINS)]


def _edges(task: Regression) -> list[str]:
    low, high = task.range
    width = (high - low) / HISTOGRAM_BINS
    return [f"{low + i * width:.3g} to {low + (i + 1) * width:.3g}" for i in range(HISTOGRAM_BINS)]
