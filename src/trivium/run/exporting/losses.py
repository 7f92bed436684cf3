"""What fewer bits cost: each task's main score on dev before and after, and changed answers."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from torch import Tensor

from trivium.errors import RecipeError
from trivium.run.exporting.answers import Exported
from trivium.run.exporting.parity import apart, flips
from trivium.run.predictor.scoring import score
from trivium.run.rows.splits import Split
from trivium.run.screen.grid import Grid, print_grid


@dataclass(frozen=True, slots=True)
class Loss:
    """Of one task."""

    task: str
    metric: str
    rows: int
    before: float
    after: float
    flips: int | None
    """Rows with another answer; None where answers are no labels."""
    largest: float
    """Difference of a probability, or of a score in parts of its range."""

    @property
    def lost(self) -> float:
        return self.before - self.after


def losses(graph: Exported, ours: Mapping[str, Tensor], dev: Mapping[str, Split]) -> list[Loss]:
    """ours: what the model itself says of the dev rows, readout_BK by task."""
    found = []
    for name, ours_BK in ours.items():
        task, rows = graph.tasks[name], dev[name]
        theirs_BK = graph.readout(name, [example.texts for example in rows.examples])
        before, after = (score(task, each, rows)[task.metric] for each in (ours_BK, theirs_BK))
        far = apart(task, ours_BK, theirs_BK)
        changed = flips(task, ours_BK, theirs_BK)
        found.append(Loss(name, task.metric, len(ours_BK), before, after, changed, far))
    return found


def too_much(found: Sequence[Loss], most: float) -> Loss | None:
    """The task that loses most, if that is more than `most`."""
    worst = max(found, key=lambda one: one.lost, default=None)
    # Written so that a score that is no number is too much.
    return worst if worst is not None and not worst.lost <= most else None


def refuse_lossy(found: Sequence[Loss], most: float) -> None:
    """RecipeError for the task that loses most, if that is more than `most`."""
    if (worst := too_much(found, most)) is not None:
        raise RecipeError(
            f"export: {worst.task}: {worst.metric} fell from {worst.before:.4f} to "
            f"{worst.after:.4f} on dev, by more than {most:g} (--max-loss). Nothing was written. "
            "Allow more, or export in fp32."
        )


def print_losses(found: Sequence[Loss], how: str, console: Console) -> None:
    grid = Grid(f"On dev, {how}")
    for title in ("task", "rows", "metric", "fp32", "after", "flips", "max |Δ|"):
        grid.add_column(title, justify="left" if title in ("task", "metric") else "right")
    for one in found:
        flipped = "–" if one.flips is None else f"{one.flips:,}"
        grid.add_row(
            one.task, f"{one.rows:,}", one.metric, f"{one.before:.4f}", f"{one.after:.4f}",
            flipped, f"{one.largest:.3f}",
        )  # fmt: skip
    print_grid(grid, console)


def as_facts(found: Sequence[Loss]) -> list[dict[str, Any]]:
    return [asdict(one) for one in found]
