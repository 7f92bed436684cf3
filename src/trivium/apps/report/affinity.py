"""What tasks gain from one another's steps, where `trivium affinity` measured it."""

from collections.abc import Sequence

from trivium.apps.report.figure import (
    Figure,
    Panel,
    Section,
    Table,
    cut,
    few_digits,
    named_axis,
    plain,
)
from trivium.apps.report.runs import ReportedRun
from trivium.run.folder.affinity import Affinity, read_affinity
from trivium.run.lookahead.told import how_sure, interval


def affinities(runs: Sequence[ReportedRun]) -> Section:
    """Of the runs that have it; empty where none has."""
    section = Section(
        "affinity",
        "Task affinity",
        "What a step for one task does to the loss of another, in percent of it. Above 0 it helps, "
        "below 0 it harms; tasks that harm each other may deserve encoders of their own.",
    )
    for run in runs:
        if len(run.run.recipe.tasks) < 2 or (found := read_affinity(run.run.folder)) is None:
            continue
        name = f" · {run.name}" if len(runs) > 1 else ""
        section.panels.extend([_map(found, name), _groups(found, name)])
        if found.stopped:
            section.notes.append(f"{run.name}: stopped early, after {found.steps:,} steps.")
    return section


def _map(found: Affinity, name: str) -> Panel:
    count = len(found.tasks)
    names, places = [plain(task) for task in found.tasks], list(range(count))
    shown = [cut(task) for task in found.tasks]
    off = [abs(found.gain[i][j]) for i in range(count) for j in range(count) if i != j]
    most = 100 * max(off) or 1.0  # a task's own gain, far larger, would pale all others
    trace = {
        "type": "heatmap", "x": places, "y": places, "zmin": -most, "zmid": 0, "zmax": most,
        "z": [[few_digits(100 * value) for value in row] for row in found.gain],
        "text": [[_cell(found, i, j) for j in range(count)] for i in range(count)],
        "texttemplate": "%{text}", "meta": {"scale": "diverging"},
        "colorbar": {"thickness": 8, "outlinewidth": 0, "nticks": 5},
        "hovertext": [[f"step for {one}, loss of {other}" for other in names] for one in names],
        "hovertemplate": "%{hovertext}: %{text}<extra></extra>",
    }  # fmt: skip
    layout = {
        "xaxis": named_axis("loss of", shown),
        "yaxis": named_axis("step for", shown, down=True),
    }
    label = "What a step for each task gains every other, in percent of its loss"
    note = (
        f"{found.measurements:,} look-aheads in {found.steps:,} steps, 95 % intervals; blue helps, "
        "orange harms."
    )
    return Panel(f"Gain{name}", note, Figure(label, [trace], layout, 180 + 46 * count), broad=True)


def _cell(found: Affinity, i: int, j: int) -> str:
    gain, low, high = (100 * table[i][j] for table in (found.gain, found.low, found.high))
    return f"{gain:+.2f}<br>{low:+.2f} to {high:+.2f}"


def _groups(found: Affinity, name: str) -> Panel:
    rows = [
        [
            f"{each.encoders}{' (suggested)' if place == found.suggested else ''}",
            " | ".join(", ".join(group) for group in each.groups),
            ", ".join(each.harmed) or "none",
            f"{100 * each.gain:+.2f}",
            interval(each),
        ]
        for place, each in enumerate(found.groupings)
    ]
    heads = ["encoders", "tasks on each", "harmed by their group", "gain", "95 % interval"]
    how = "The best of all groupings." if found.exact else "Groups merged greedily."
    how += f" How sure the suggestion is: {how_sure(found)}."
    return Panel(f"Groupings{name}", how, table=Table(heads, rows, wordy=3), wide=True)
