"""Scores for people."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from trivium.run.folder.scores import Cost, Scores
from trivium.run.screen.console import say
from trivium.run.screen.grid import Grid, print_grid

NOTHING = "–"


def print_scores(content: Mapping[str, Any], console: Console) -> None:
    """A row per task and split, the overall means below; what the training took.

    content: of scores.json, as `train`, `soup` and `evaluate` answer with it.
    """
    scores = Scores.model_validate(content)
    grid = Grid("Scores")
    for title in ("task", "split", "rows", "scores"):
        grid.add_column(title, justify="right" if title == "rows" else "left")
    for task, splits in scores.tasks.items():
        for split, metrics in splits.items():
            values = [f"{name} {value:.4f}" for name, value in metrics.items() if name != "rows"]
            rows = _number(metrics.get("rows"))
            grid.add_row(Text(task, style="bold"), split, rows, "  ".join(values))
            for name, value in _before_training(scores, task, split):
                grid.add_row("", f"  {name}", "", value)
    for split, means in scores.overall.items():
        values = [f"{name} {value:.4f}" for name, value in means.items()]
        grid.add_row(Text("overall", style="bold"), split, "", "  ".join(values))
    print_grid(grid, console)
    if scores.cost != Cost():
        say(console, _training(scores))


def _before_training(scores: Scores, task: str, split: str) -> Iterator[tuple[str, str]]:
    """The main metric of a linear probe, and of always the usual answer."""
    if known := scores.baselines.get(task):
        for name, found in (("probe", known.probe.scores), ("usual", known.majority)):
            if (value := found.get(split, {}).get(known.metric)) is not None:
                yield name, f"{known.metric} {value:.4f}"


def _training(scores: Scores) -> str:
    cost = scores.cost
    return (
        f"{_number(cost.seconds)} s of training in {scores.precision or NOTHING}, "
        f"{_number(cost.tokens_per_s)} tokens/s, {_number(cost.parameters)} parameters, "
        f"peak memory {_number(cost.peak_memory_bytes, 2**30, 1)} GiB"
    )


def _number(value: float | None, unit: int = 1, digits: int = 0) -> str:
    return NOTHING if value is None else f"{value / unit:,.{digits}f}"
