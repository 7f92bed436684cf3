"""A section on runs that were calibrated: answers before and after, and cross-fitted."""

from collections.abc import Sequence

from trivium.apps.report.figure import Figure, Panel, Section, Table, Trace, axis, curve, plain
from trivium.apps.report.runs import ReportedRun
from trivium.run.deciding.told import lines_of, sentence
from trivium.run.folder.decisions import Figures, Side, read_figures


def calibrated(runs: Sequence[ReportedRun]) -> list[Section]:
    """The section, where any of the runs was calibrated."""
    found = [
        (run, name, of)
        for run in runs
        if not run.run.is_ensemble
        for name, of in read_figures(run.run.folder).items()
    ]
    if not found:
        return []
    section = Section(
        "decisions",
        "Before and after calibration",
        "What `trivium calibrate` found is used by predict, evaluate and serve; all other sections "
        "tell of the model as it was trained. The figures after are of the very rows that it was "
        "found on; cross-fitted, each part of them is decided upon by what was found on others.",
    )
    for run, name, of in found:
        title = f"{name} · {run.name}" if len(runs) > 1 else name
        section.panels.append(Panel(title, sentence(of), table=_table(of), wide=True))
        section.panels.append(_reliability(title, run, of))
        section.panels.append(_coverage(title, run, of))
        section.notes.extend(f"{title}: {note}." for note in of.notes)
    return [section]


def _table(of: Figures) -> Table:
    heads = ["", "before", "after", "cross-fitted"]
    return Table(heads, [[title, *values] for title, values in lines_of(of)])


def _reliability(title: str, run: ReportedRun, of: Figures) -> Panel:
    traces: list[Trace] = [
        {"type": "scatter", "mode": "lines", "x": [0, 1], "y": [0, 1], "hoverinfo": "skip",
         "line": {"width": 1, "dash": "dash"}, "meta": {"ink": True}, "showlegend": False}
    ]  # fmt: skip
    for who, side, dash in _sides(of):
        bins = side.reliability
        traces.append(
            curve(
                f"{who}: ECE {side.ece:.3f}", run.place, [round(sure, 4) for sure, *_ in bins],
                [right for _, right, _ in bins], mode="lines+markers", line={"dash": dash},
                legendgroup=who, customdata=[rows for *_, rows in bins],
                hovertemplate=f"{plain(who)}<br>confidence %{{x:.2f}}, right %{{y:.1%}}<br>"
                "%{customdata:,} answers<extra></extra>",
            )
        )  # fmt: skip
    layout = {
        "xaxis": axis("confidence", range=[0, 1.02]),
        "yaxis": axis("share of right answers", range=[0, 1.04], tickformat=".0%"),
        "showlegend": True, "hovermode": "closest",
    }  # fmt: skip
    note = "On the line confidence can be taken at its word; below it the model is too sure."
    label = f"{title}: reliability before and after"
    return Panel(f"{title}: reliability", note, Figure(label, traces, layout, 380))


def _coverage(title: str, run: ReportedRun, of: Figures) -> Panel:
    traces = [
        curve(
            who, run.place, [round(share, 5) for share, _ in side.coverage],
            [right for _, right in side.coverage], line={"dash": dash}, legendgroup=who,
            hovertemplate=f"{plain(who)}<br>of the surest %{{x:.0%}}, %{{y:.1%}} right"
            "<extra></extra>",
        )
        for who, side, dash in _sides(of)
    ]  # fmt: skip
    layout = {
        "xaxis": axis("share of rows answered", tickformat=".0%"),
        "yaxis": axis("share of these that are right", tickformat=".0%"),
        "showlegend": True, "hovermode": "closest",
    }  # fmt: skip
    note = "How many rows remain where only so many mistakes are allowed (--answer-where)."
    label = f"{title}: right answers among the surest rows"
    return Panel(f"{title}: answering less", note, Figure(label, traces, layout, 380))


def _sides(of: Figures) -> list[tuple[str, Side, str]]:
    """Before, and after on other rows; or, where there were too few, on the same."""
    if of.crossfitted is None:
        return [("before", of.before, "dot"), ("after", of.after, "solid")]
    return [("before", of.before, "dot"), ("cross-fitted", of.crossfitted, "solid")]
