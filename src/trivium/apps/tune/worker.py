"""One worker's part in a search: what it carries out, and what it leaves to read."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from trivium.apps.tune.board import Board
from trivium.apps.tune.claims import Claims
from trivium.apps.tune.folder import Folder
from trivium.apps.tune.plots import draw
from trivium.apps.tune.reported import beside
from trivium.apps.tune.results import TABLE, write_results
from trivium.apps.tune.rows import Overview, overview
from trivium.apps.tune.storage import explained
from trivium.recipe.budget import Reported
from trivium.recipe.search import Search
from trivium.recipe.space import own_values
from trivium.run.folder.atomic import refusals_told
from trivium.run.folder.objectives import Objective
from trivium.run.jobs.child import Stop

FAILURES_AT_START, FAILURES_LATER = 3, 10
"""In a row, after which a worker gives up: before any trial was finished, and after."""
DRAW_EVERY_S = 60.0
REFRESH_EVERY_S = 5.0
"""Of the table, for what other workers do."""


@dataclass(slots=True)
class Worker:
    """One process that carries out trials."""

    claims: Claims
    objectives: list[Objective]
    search: Search
    command: str
    """What to type to go on."""
    reported: Reported | None
    drawn: float = 0.0

    @property
    def folder(self) -> Folder:
        return self.claims.folder

    @property
    def aim(self) -> str:
        words = [f"{'low' if o.is_cost else 'high'} {o.title}" for o in self.objectives]
        return f"{' and '.join(words)} by {self.search.sampler.kind}"

    @contextmanager
    def explained(self) -> Iterator[None]:
        """What its disk, or a database, refuses in the block, in words."""
        left = f"Finished trials are kept; once there is room, go on with: {self.command}"
        with refusals_told(self.folder.path, lambda: left), explained(self.folder.storage):
            yield

    def view(self) -> Overview:
        return overview(self.claims, self.objectives)

    def write(self) -> None:
        """The results so far; the pictures now and then."""
        view = self.view()
        recipes = {n: self.claims.recipe_of(self._drawn(n)) for n in view.best}
        with self.folder.locked():
            own = own_values(self.claims.recipe, self.search, self.claims.path)
            parts = beside(view, self.reported, own, self.claims.recipe.tasks)
            write_results(self.folder.path, view, recipes, self.claims.recipe.encoder, parts)
        if time.monotonic() - self.drawn > DRAW_EVERY_S and len(view.ended) > 1:
            self.draw()

    def draw(self) -> list[str]:
        """All pictures; why there are no others."""
        with self.folder.locked():
            notes = draw(self.folder.path, self.view(), self.claims.study)
        self.drawn = time.monotonic()
        return notes

    def _drawn(self, number: int) -> dict[str, Any]:
        return next(t.params for t in self.claims.trials() if t.number == number)

    def gives_up(self, failures: int, reason: str) -> str:
        """Why, after so many failures in a row, the last for this reason; "" where it goes on."""
        limit = FAILURES_LATER if self.claims.finished() else FAILURES_AT_START
        if failures < limit:
            return ""
        return f"{failures} trials failed, one after another: {reason.rstrip('.')}."

    def unfinished(self) -> str:
        """Why the search has fewer trials than it was to have, though nobody is at work."""
        if self.claims.has_left():
            return f"the search's time is up; go on with: {self.command}"
        if failed := self.claims.failed():
            numbers = ", ".join(map(str, failed))
            return f"trials that failed: {numbers}; to try their points again: {self.command}"
        return f"all was tried; what the recipe refuses is told in {self.folder.path / TABLE}"


@dataclass(slots=True)
class Look:
    """Keeps the board fresh while a child trains."""

    worker: Worker
    board: Board
    stop: Stop
    told: bool = False
    refreshed: float = 0.0

    def __call__(self, log_start: int) -> None:
        if self.stop.asked and not self.told:
            self.told = True
            self.board.stopping()
        self.board.look(log_start)
        now = time.monotonic()
        if now - self.refreshed > REFRESH_EVERY_S:
            self.refreshed = now
            self.board.view = self.worker.view()
