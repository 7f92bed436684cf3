"""Pictures of a search, drawn anew from its trials."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Literal

import optuna
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from trivium.apps.tune.rows import Overview, Row
from trivium.run.folder.atomic import write_bytes
from trivium.run.folder.objectives import Objective

ENOUGH = 10
"""Finished trials from which importances are worth a look."""
BLUE, ORANGE, GREY, RED = "#2563a8", "#d9822b", "#a3a9b3", "#b3402f"


def draw(out: Path, view: Overview, study: optuna.Study) -> list[str]:
    """Draw what can be drawn; why the rest cannot."""
    if not view.ended:
        return ["no pictures: no trial is finished"]
    notes = []
    _save(out / "history.png", _history(view))
    if len(view.objectives) > 1:
        notes.append("no curves.png: with several objectives Optuna keeps no evaluations")
    elif not any(row.curve for row in view.rows):
        notes.append("no curves.png: no trial was evaluated on its way")
    else:
        _save(out / "curves.png", _curves(view))
    if len(view.objectives) == 2 and view.done:
        _save(out / "pareto.png", _pareto(view))
    try:
        _save(out / "importance.png", _importances(view, study))
    except ValueError as error:
        notes.append(f"no importance.png: {error}")
    return notes


def _history(view: Overview) -> Figure:
    """Every trial's values in order, and the best so far."""
    figure = Figure(figsize=(7, 1.2 + 2.6 * len(view.objectives)), layout="constrained")
    panels = figure.subplots(len(view.objectives), squeeze=False)[:, 0]
    for index, (axes, objective) in enumerate(zip(panels, view.objectives, strict=True)):
        scale = _scale(objective)
        for state, marker, colour in (("done", "o", BLUE), ("pruned", "x", GREY)):
            chosen = [r for r in view.rows if r.state == state and len(r.values) > index]
            if chosen:
                places = [row.number for row in chosen]
                values = [scale(row.values[index]) for row in chosen]
                axes.scatter(places, values, marker=marker, c=colour, s=28, label=state, zorder=3)
        if view.done:
            better = min if objective.is_cost else max
            best, line = scale(view.done[0].values[index]), []
            for row in view.done:
                best = better(best, scale(row.values[index]))
                line.append(best)
            numbers = [row.number for row in view.done]
            axes.step(numbers, line, where="post", color=ORANGE, label="best so far")
        _dress(axes, "trial", objective.title)
    panels[0].set_title(view.counts(), fontsize=10)
    panels[0].legend(fontsize=8)
    return figure


def _curves(view: Overview) -> Figure:
    """The score at each evaluation: how trials came to where they are."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    kinds = {"done": (BLUE, 0.45, 1.2), "pruned": (GREY, 0.8, 1.0), "running": (ORANGE, 0.9, 1.2)}
    named: set[str] = set()
    for row in view.rows:
        best = row.number in view.best
        colour, alpha, width = (RED, 1.0, 2.2) if best else kinds.get(row.state, (GREY, 0.5, 1.0))
        name = f"best: trial {row.number}" if best else row.state
        axes.plot(
            list(row.curve), list(row.curve.values()), color=colour, alpha=alpha, linewidth=width,
            marker="x" if row.state == "pruned" else ".", zorder=4 if best else 2,
            markevery=[-1] if row.state == "pruned" else None,
            label=None if name in named else name,
        )  # fmt: skip
        named.add(name)
    _dress(axes, "evaluation", view.objectives[0].title)
    axes.legend(fontsize=8)
    return figure


def _pareto(view: Overview) -> Figure:
    """Two objectives against one another."""
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    axes = figure.subplots()
    x, y = (_scale(objective) for objective in view.objectives)

    def points(rows: list[Row]) -> tuple[list[float], list[float]]:
        return [x(row.values[0]) for row in rows], [y(row.values[1]) for row in rows]

    axes.scatter(
        *points([row for row in view.done if row.number not in view.best]), c=GREY, s=28,
        label="beaten",
    )  # fmt: skip
    front = sorted((view.row(number) for number in view.best), key=lambda row: row.values)
    # In steps: no trial is known to lie between two. Of a cost, less is as good; of a score, more.
    where: Literal["pre", "post"] = "post" if view.objectives[0].is_cost else "pre"
    axes.step(
        *points(front), where=where, color=ORANGE, marker="o", label="Pareto front, by trial",
        zorder=3,
    )  # fmt: skip
    for row in front:
        place = (x(row.values[0]), y(row.values[1]))
        axes.annotate(str(row.number), place, textcoords="offset points", xytext=(5, 5), fontsize=8)
    _dress(axes, view.objectives[0].title, view.objectives[1].title, whole=False)
    axes.legend(fontsize=8)
    return figure


def _importances(view: Overview, study: optuna.Study) -> Figure:
    """How much of the objectives' variance each setting explains (fANOVA, Hutter et al. 2014).

    Raises ValueError, in words, where that cannot be told.
    """
    if len(view.done) < ENOUGH:
        raise ValueError(f"it wants {ENOUGH} trials that are done, and there are {len(view.done)}")
    varying = [
        path for path in view.names if len({str(row.settings[path]) for row in view.done}) > 1
    ]
    if len(varying) < 2:
        raise ValueError("it compares settings, and only one of them was varied")
    figure = Figure(
        figsize=(7, (0.8 + 0.36 * len(varying)) * len(view.objectives) + 0.6), layout="constrained"
    )
    panels = figure.subplots(len(view.objectives), squeeze=False)[:, 0]
    for index, (axes, objective) in enumerate(zip(panels, view.objectives, strict=True)):
        if len({row.values[index] for row in view.done}) < 2:
            raise ValueError(f"{objective.title} is the same in all trials")
        shares = get_param_importances(
            study, evaluator=FanovaImportanceEvaluator(seed=0), params=varying,
            target=_value_at(index),
        )  # fmt: skip
        names = [view.names[path] for path in shares][::-1]
        bars = axes.barh(names, list(shares.values())[::-1], color=BLUE)
        axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
        axes.set_xlim(0, 1.1 * max(shares.values()))
        _dress(axes, f"share of the variance of {objective.title}", "", whole=False)
    panels[0].set_title(f"Importance of settings, by {len(view.done)} trials", fontsize=10)
    return figure


def _value_at(index: int) -> Callable[[FrozenTrial], float]:
    def value(trial: FrozenTrial) -> float:
        assert trial.state == TrialState.COMPLETE
        assert trial.values is not None
        return float(trial.values[index])

    return value


def _scale(objective: Objective) -> Callable[[float], float]:
    divisor = 2**30 if objective.name == "peak_memory" and objective.is_cost else 1
    return lambda value: value / divisor


def _dress(axes: Axes, x: str, y: str, *, whole: bool = True) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if whole:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="#e3e6ea", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _save(path: Path, figure: Figure) -> None:
    drawn = BytesIO()
    figure.savefig(drawn, format="png", dpi=140)
    write_bytes(path, drawn.getvalue())
