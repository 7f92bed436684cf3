"""What calibration changed, on a screen."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from trivium.run.deciding.judged import gains
from trivium.run.deciding.weights import threshold_of
from trivium.run.folder.decisions import Figures, Side
from trivium.run.screen.console import note, say
from trivium.run.screen.grid import Grid, print_grid

MOST_SHOWN = 6
"""Labels whose thresholds or weights are named."""


def print_figures(tasks: Mapping[str, Figures], console: Console) -> None:
    grid = Grid("Answers before and after")
    for title in ("task", "", "before", "after", "cross-fitted"):
        grid.add_column(title, justify="left" if title in ("task", "") else "right")
    for name, of in tasks.items():
        shown = name
        for title, values in lines_of(of):
            grid.add_row(shown, title, *values)
            shown = ""
    print_grid(grid, console)
    for name, of in tasks.items():
        say(console, f"{name}: {sentence(of)}")
        for line in of.notes:
            note(console, f"{name}: {line}")
    if doubtful := [name for name, of in tasks.items() if not gains(of)]:
        note(
            console,
            f"{', '.join(doubtful)}: by rows that it was not found on, deciding so is no better "
            "than before; --for none leaves thresholds as they are.",
        )


def lines_of(of: Figures) -> list[tuple[str, list[str]]]:
    """What stands beside each other: a title, and the values before, after, and cross-fitted."""
    sides = (of.before, of.after, of.crossfitted)
    found = [
        (metric, [_number(side and side.scores.get(metric)) for side in sides])
        for metric in [of.metric, *(m for m in of.before.scores if m != of.metric)]
    ]
    found += [
        ("negative log-likelihood", [_number(side and side.nll) for side in sides]),
        ("calibration error", [_number(side and side.ece) for side in sides]),
    ]
    if of.before.cost is not None:
        found.append(("cost of a row", [_number(side and side.cost) for side in sides]))
    if of.answer_where is not None:
        found.append(("rows answered", [_share(side and side.answered) for side in sides]))
        found.append(("right of these", [_share(side and side.right) for side in sides]))
    return found


def sentence(of: Figures) -> str:
    """How is decided, in words."""
    decide = of.decide
    parts = [f"temperature {decide.get('temperature', 1.0):.3g}"]
    weights = decide.get("weights", {})
    if (threshold := threshold_of(weights, list(weights))) is not None:
        parts.append(f"{list(weights)[1]!r} from {threshold:.3f} on")
    elif weights:
        parts.append(f"weights {_some(weights)}")
    if decide.get("thresholds"):
        parts.append(f"thresholds {_some(decide['thresholds'])}")
    if decide.get("costs"):
        parts.append("the answer that costs least")
    if of.answer_where is not None:
        parts.append(f"no answer below a confidence of {decide.get('abstain', 0.0):.3f}")
    if of.shares:
        each = [f"{n} {was:.1%} → {now:.1%}" for n, (was, now) in of.shares.items()]
        parts.append(f"shares of labels by {of.shares_from}: {', '.join(each[:MOST_SHOWN])}")
    what = f"for {of.aim}, " if of.aim not in ("none", "costs") else ""
    return f"{what}found on {of.rows:,} rows of {of.on}: {'; '.join(parts)}."


def _some(values: Mapping[str, Any]) -> str:
    each: Sequence[str] = [f"{name} {value:.3g}" for name, value in values.items()]
    more = [f"… {len(each)} labels"] if len(each) > MOST_SHOWN else []
    return ", ".join([*each[:MOST_SHOWN], *more])


def _number(value: "float | Side | None") -> str:
    return "–" if not isinstance(value, int | float) else f"{value:z.4f}"


def _share(value: "float | Side | None") -> str:
    return "–" if not isinstance(value, int | float) else f"{value:.1%}"
