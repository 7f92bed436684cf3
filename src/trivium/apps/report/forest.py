"""Differences with their intervals, as a forest plot."""

from collections.abc import Sequence

from trivium.apps.report.figure import Figure, axis, cut, named_axis, plain
from trivium.run.verdict.facts import Comparison, Verdict
from trivium.run.verdict.forest import ranked
from trivium.run.verdict.sentences import conclusion, shown_p

SURE, ALONE, NOISE = "circle", "diamond-open", "circle-open"


def forest(result: Verdict) -> Figure:
    """Every difference, system by system, the largest gain above."""
    comparisons = ranked(result.comparisons)
    trace = {
        "type": "scatter", "mode": "markers", "meta": {"accent": True},
        "x": [round(100 * c.difference, 3) for c in comparisons],
        "y": list(range(len(comparisons))),
        "error_x": {
            "type": "data", "symmetric": False, "thickness": 2, "width": 6,
            "array": [round(100 * (c.high - c.difference), 3) for c in comparisons],
            "arrayminus": [round(100 * (c.difference - c.low), 3) for c in comparisons],
        },
        "marker": {"size": 11, "symbol": [_symbol(c) for c in comparisons]},
        "text": [_told(c) for c in comparisons],
        "hovertemplate": "%{text}<extra></extra>",
    }  # fmt: skip
    layout = {
        "xaxis": axis("difference in points", zeroline=True, zerolinewidth=2),
        "yaxis": named_axis("", _names(comparisons), down=True),
        "showlegend": False,
        "hovermode": "closest",
    }  # fmt: skip
    label = "Differences to the baselines with their intervals"
    lines = 1 if len({c.system for c in comparisons}) == 1 else 2
    return Figure(label, [trace], layout, 90 + (16 + 14 * lines) * len(comparisons))


def _names(comparisons: Sequence[Comparison]) -> list[str]:
    """The system's below the task's, where there are several."""
    if len({c.system for c in comparisons}) == 1:
        return [cut(c.task) for c in comparisons]
    return [f"{cut(c.task)}<br>{cut(c.system)}" for c in comparisons]


def _symbol(comparison: Comparison) -> str:
    if comparison.corrected in ("better", "worse"):
        return SURE
    return ALONE if comparison.outcome != comparison.corrected else NOISE


def _told(one: Comparison) -> str:
    """What is said where the pointer is."""
    tested = f"p {shown_p(one.p)}"
    tested += f", {shown_p(one.adjusted_p)} after Holm" if one.tests > 1 else ""
    said = f"{100 * one.difference:+.1f} points: {conclusion(one)}"
    return "<br>".join([plain(one.task), plain(one.system), said, plain(tested)])
