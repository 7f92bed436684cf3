"""What was to be reached, and what was measured."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from trivium.run.screen.grid import markdown_table


@dataclass(frozen=True, slots=True)
class Goal:
    """Something to reach: at least so much, or at most."""

    what: str
    wanted: float
    found: float
    """nan: it was not measured."""
    at_least: bool = True

    @property
    def is_reached(self) -> bool:
        return self.found >= self.wanted if self.at_least else self.found <= self.wanted


def at_most(what: str, wanted: float, found: float) -> Goal:
    return Goal(what, wanted, found, at_least=False)


def measured(goals: Iterable[Goal]) -> list[Goal]:
    """Those of which there is a figure."""
    return [goal for goal in goals if not math.isnan(goal.found)]


def table(goals: Sequence[Goal]) -> str:
    """A line per goal."""
    lines = [
        (
            goal.what,
            f"{'≥' if goal.at_least else '≤'} {goal.wanted:g}",
            f"{goal.found:.3g}",
            "yes" if goal.is_reached else "no",
        )
        for goal in goals
    ]
    return markdown_table(("to reach", "wanted", "measured", "reached"), lines, left=(0, 3))
