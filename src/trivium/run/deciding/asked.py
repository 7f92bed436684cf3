"""What people ask `trivium calibrate` for, before it is known of which task."""

from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

from trivium.errors import RecipeError, refuse_no_path
from trivium.parts.tasks import Labelled
from trivium.run.deciding.aims import LEVELLED, Aim, aim_of
from trivium.run.deciding.costs import costs_of
from trivium.run.deciding.found import Wanted
from trivium.run.deciding.rows import DEV


class Asked:
    """Checked as far as that is possible without a task."""

    def __init__(
        self,
        goal: str | None,
        label: str | None,
        costs: str | Path | Mapping[str, Any] | None,
        answer_where: float | None,
        shares_from: str | Path | None,
    ) -> None:
        """Raises RecipeError for what does not go together."""
        if goal is not None and costs is not None:
            raise RecipeError("--for and --costs: both say how to decide; leave one of them out.")
        if label is not None and (goal or "").partition("=")[0] not in LEVELLED:
            raise RecipeError("--label: goes with --for precision=… or --for recall=… only.")
        if answer_where is not None and not _is_share(answer_where):
            raise RecipeError(
                f"--answer-where {answer_where}: wants a share between 0 and 1, such as 0.95."
            )
        if shares_from is not None:
            refuse_no_path(shares_from, "--shares-from")
        self.goal, self.label, self.costs = goal, label, costs
        self.answer_where, self.shares_from = answer_where, shares_from

    def refuse_beside_undo(self, on: str | Path) -> None:
        """Raises RecipeError for what says how to decide, where nothing is to be decided."""
        said = {
            "--for": self.goal, "--label": self.label, "--costs": self.costs,
            "--answer-where": self.answer_where, "--shares-from": self.shares_from,
            "--on": None if str(on) == DEV else on,
        }  # fmt: skip
        if there := [name for name, value in said.items() if value is not None]:
            raise RecipeError(
                f"--undo takes out what was found, and {', '.join(there)} says what to find: give "
                "one or the other (a new calibration replaces the old one)."
            )

    @property
    def leaves_open(self) -> bool:
        """Whether nobody said what thresholds shall be for."""
        return self.goal is None and self.costs is None

    @property
    def needs_one_task(self) -> str:
        """The option that is about a single task, if one is there."""
        named = {"--costs": self.costs, "--label": self.label, "--shares-from": self.shares_from}
        return next((name for name, value in named.items() if value is not None), "")

    def of(self, task: Labelled) -> Wanted:
        biased = self.shares_from is not None
        if self.costs is not None:
            return Wanted(Aim("none"), costs_of(task, self.costs), self.answer_where, biased)
        return Wanted(aim_of(task, self.goal, self.label), {}, self.answer_where, biased)


def _is_share(value: object) -> bool:
    """Whether it is a number between 0 and 1."""
    return isinstance(value, Real) and 0 < float(value) < 1
