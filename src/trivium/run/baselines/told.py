"""Baselines on a screen."""

from rich.console import Console
from rich.text import Text

from trivium.run.baselines.find import BeforeTraining
from trivium.run.folder.scores import Baselines
from trivium.run.screen.grid import Grid, print_grid

NOTHING = "–"


def print_baselines(found: BeforeTraining, console: Console) -> None:
    """A row per task: what the usual answer and a linear probe score on dev; nothing if none."""
    if not found.baselines:
        return
    grid = Grid("Before training: always the usual answer, and a linear probe on the encoder")
    for title in ("task", "usual answer", "metric (dev)", "usual", "probe", "probe's rows"):
        left = title in ("task", "usual answer", "metric (dev)")
        grid.add_column(title, justify="left" if left else "right")
    for name, each in found.baselines.items():
        probe = each.probe
        grid.add_row(
            Text(name, style="bold"),
            each.answer,
            each.metric,
            _number(each.majority.get("dev", {}).get(each.metric)),
            _number(probe.scores.get("dev", {}).get(each.metric)),
            _rows(each),
        )
    print_grid(grid, console)


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.4f}"


def _rows(baselines: Baselines) -> str:
    probe = baselines.probe
    whole = f" of {probe.of_rows:,}" if probe.rows < probe.of_rows else ""
    return f"{probe.rows:,}{whole}"
