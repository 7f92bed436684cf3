"""What a page is made of: sections, panels, and figures as Plotly draws them.

A figure holds no colours. Traces say in `meta` what they are, and the page colours them by its
theme: `run`, whose they are; `faint`, for what lies in the background; `scale`, of a heat map.
"""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

MOST_POINTS = 1500
"""Points of one curve; more cannot be told apart on a screen."""
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "pentagon", "star")
"""Runs differ by these too: not everybody tells colours apart."""
MOST_NAMES = 8
"""In the legend of one figure; more would leave no room for the figure."""
LONGEST = 22
"""Letters of a name beside a figure: on a phone more would leave no room for it."""
FREE_NAMES, NAME_HEIGHT = 3, 28
"""Every name in a legend beyond three makes the figure higher by so many pixels: where it is as
narrow as a third of the page, each has a line of its own."""

Trace = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Figure:
    label: str
    """What it shows, for those who cannot see it."""
    traces: list[Trace]
    layout: dict[str, Any]
    height: int = 320
    """Pixels."""

    @property
    def has_too_many_names(self) -> bool:
        return self._names > MOST_NAMES

    @property
    def whole_height(self) -> int:
        """With what the legend takes."""
        names = 0 if self.has_too_many_names else self._names
        return self.height + NAME_HEIGHT * max(0, names - FREE_NAMES)

    @property
    def drawn(self) -> dict[str, Any]:
        """As Plotly takes it."""
        legend = {"showlegend": False} if self.has_too_many_names else {}
        return {"data": self.traces, "layout": self.layout | legend}

    @property
    def _names(self) -> int:
        named = [trace for trace in self.traces if trace.get("showlegend", True)]
        return len(named) if self.layout.get("showlegend") else 0


@dataclass(frozen=True, slots=True)
class Table:
    heads: list[str]
    rows: list[list[str]]
    wordy: int = 1
    """Columns at the left that hold words; the others hold numbers."""
    best: frozenset[tuple[int, int]] = frozenset()
    """Row and column of cells that stand out."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One thing in a section: a figure, a table or an element with a template of its own."""

    title: str = ""
    note: str = ""
    figure: Figure | None = None
    table: Table | None = None
    template: str = ""
    """A file of `templates/`, which finds its values in `values`."""
    values: Any = None
    wide: bool = False
    """As wide as the page."""
    broad: bool = False
    """Two columns wide, where there are several."""


@dataclass(frozen=True, slots=True)
class Section:
    id: str
    title: str
    hint: str
    """One line: what one sees, and how to read it."""
    panels: list[Panel] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What else there is to know, such as why something is not here."""


def plain(text: str) -> str:
    """Text in which Plotly finds no markup: it reads <b>, <a href> and entities."""
    return html.escape(text, quote=False)


def few_digits(value: float) -> float | None:
    """Five digits, as many as a picture can show; None, a gap, for what is not finite."""
    return float(f"{value:.5g}") if math.isfinite(value) else None


def thinned(values: Sequence[Any], most: int = MOST_POINTS) -> list[Any]:
    """At most so many of the values, evenly spaced, the first and the last among them."""
    if len(values) <= most:
        return list(values)
    return [values[round(i * (len(values) - 1) / (most - 1))] for i in range(most)]


def smoothed(values: Sequence[float], span: float) -> list[float]:
    """Exponential mean over about `span` values, each weighing 1 - 2 / (span + 1) of the next.

    It is divided by the sum of its weights, so the first values are not drawn towards 0. Values
    that are not finite count for nothing: the mean stays as it was; nan where there is none yet.
    """
    keep = 1 - 2 / (span + 1)
    total = weight = 0.0
    means = []
    for value in values:
        if math.isfinite(value):
            total, weight = keep * total + value, keep * weight + 1
        means.append(total / weight if weight else math.nan)
    return means


def curve(name: str, run: int, x: Sequence[Any], y: Sequence[float | None], **more: Any) -> Trace:
    """A line of a run."""
    line = {"dash": DASHES[run % len(DASHES)], "width": 2} | more.pop("line", {})
    if "markers" in more.get("mode", ""):  # whole ones on the axis, too, as at step 0
        more["cliponaxis"] = False
    return {
        "type": "scatter", "mode": "lines", "name": plain(name), "legendgroup": str(run),
        "x": list(x), "y": [None if value is None else few_digits(value) for value in y],
        "line": line, "marker": {"symbol": SYMBOLS[run % len(SYMBOLS)], "size": 7},
        "meta": {"run": run} | more.pop("meta", {}), **more,
    }  # fmt: skip


def axis(title: str, **more: Any) -> dict[str, Any]:
    # Beside the longest of its labels, whose width the margin follows.
    return {"title": {"text": plain(title), "standoff": 10}, "automargin": True, **more}


def named_axis(title: str, shown: Sequence[str], *, down: bool = False) -> dict[str, Any]:
    """An axis on which names, each as `cut` makes it, stand at 0, 1, 2, ...

    By number: names that are cut alike would be one place, and Plotly's own axis of names loses
    those that every object of JavaScript has, such as `constructor`. down: the first one above.
    """
    ends = [-0.5, len(shown) - 0.5]
    return axis(
        title, tickmode="array", tickvals=list(range(len(shown))), ticktext=list(shown),
        zeroline=False, range=ends[::-1] if down else ends,
    )  # fmt: skip


def cut(name: str) -> str:
    """A name beside a figure, with no markup in it."""
    return plain(name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…")


def rows_in_words(count: float | None) -> str:
    if count is None:
        return "– rows"
    return f"{count:,.0f} row{'' if count == 1 else 's'}"


def share(value: float) -> str:
    """0.123 as 12.3 %."""
    return f"{100 * value:.1f} %"
