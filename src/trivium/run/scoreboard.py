"""Scores as a table for people."""

from typing import Any

from rich.console import Console
from rich.table import Table as Grid


def print_scores(scores: dict[str, Any], console: Console) -> None:
    """The content of `scores.json`: a row per task and split, the overall means below."""
    grid = Grid(title="Scores", title_justify="left")
    for title in ("task", "split", "rows", "scores"):
        grid.add_column(title, justify="right" if title == "rows" else "left")
    for task, splits in scores["tasks"].items():
        for split, found in splits.items():
            values = [f"{name} {value:.4f}" for name, value in found.items() if name != "rows"]
            grid.add_row(f"[bold]{task}[/]", split, f"{found['rows']:,}", "  ".join(values))
    for split, means in scores.get("overall", {}).items():
        values = [f"{name} {value:.4f}" for name, value in means.items()]
        grid.add_row("[bold]overall[/]", split, "", "  ".join(values))
    console.print(grid)
    cost = scores.get("cost")
    if cost:
        console.print(
            f"{cost['seconds']:,.0f} s of training in {scores['precision']}, "
            f"{cost['tokens_per_s']:,.0f} tokens/s, {cost['parameters']:,} parameters, "
            f"peak memory {cost['peak_memory_bytes'] / 2**30:.1f} GiB",
            highlight=False,
        )
