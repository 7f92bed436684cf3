"""Searches whose trials are told by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from trivium.apps.tune import search
from trivium.apps.tune.claims import Claim, tell
from trivium.apps.tune.rows import SCORES
from trivium.apps.tune.worker import Worker
from trivium.recipe import AnyRecipe

SPACE = {
    "stages.0.lr.encoder": {"low": 1e-5, "high": 1e-2, "log": True},
    "stages.0.batch_size": [4, 8],
    "tasks.mood.weight": {"low": 0.1, "high": 0.9, "step": 0.1},
    "seed": {"low": 0, "high": 9},
}


def worker(path: AnyRecipe, out: Path, *, storage: str = "journal", **options: Any) -> Worker:
    """One more worker of a search; several may live in one process, as they share only files."""
    options = {"trials": None, "changes": [], "seed": 0} | options
    return search._prepare(path, out, storage=storage, **options)


def finish(one: Worker, claim: Claim, *values: float) -> None:
    """End a trial as if it had been trained."""
    with claim.log:
        claim.trial.set_user_attr(SCORES, {"mood.accuracy": values[0]})
        assert tell(one.claims.study, claim.trial, values=list(values))


def alike(_number: int) -> float:
    return 0.5


def run_by_hand(one: Worker, score: Callable[[int], float] = alike) -> list[dict[str, Any]]:
    """All trials of a search, as if they had been trained; their points."""
    found = []
    while claim := one.claims.next():
        found.append(claim.point)
        finish(one, claim, score(claim.number))
    return found
