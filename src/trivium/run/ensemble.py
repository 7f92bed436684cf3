"""Several runs into an ensemble: a folder that is evaluated and predicts as a run does."""

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from trivium.run.folder.atomic import whole_folder
from trivium.run.folder.locks import alone
from trivium.run.folder.model import copy_model
from trivium.run.folder.names import MEMBERS
from trivium.run.folder.scores import Scores
from trivium.run.members.heard import hear
from trivium.run.members.judged import other_dev_files
from trivium.run.members.plan import EnsemblePlan, plan_ensemble
from trivium.run.members.weights import weighed
from trivium.run.members.written import judge_ensemble, write_ensemble
from trivium.run.predictor.trained import load_single, refuse_unknown
from trivium.run.screen.console import heard_on, note, say
from trivium.run.screen.grid import MINILM, Grid, print_grid


def ensemble(
    runs: Sequence[str | Path],
    out: str | Path,
    how: str = "mean",
    *,
    overwrite: bool = False,
    precision: str = "auto",
    device: str = "auto",
    console: Console | None = None,
) -> dict[str, Any]:
    """Put runs (or model folders) together in a folder that holds copies of their models.

    how: `vote`, the majority's label, with ties to the larger mean probability; `mean` of
    probabilities; or `weights`, a weighted mean that is chosen on dev. Of scores, `vote` is the
    mean. Each task is answered by the members that have it. Answers with the content of the
    ensemble's `scores.json`, a plain dict. Raises RecipeError before any work.

        trivium.ensemble(["runs/a", "runs/b", "runs/c"], "runs/abc", how="vote")
        trivium.load("runs/abc").predict("urgency", ["My event starts in an hour!"])
    """
    console = heard_on(console)
    out = Path(os.path.abspath(out))  # so that "." has a name too
    refuse_unknown(precision, device)
    with alone(out):
        plan = plan_ensemble(runs, out, how, overwrite)
        for line in other_dev_files(plan.members, plan.recipe) if plan.recipe else ():
            note(console, line)
        with whole_folder(out) as fresh:
            for place, member in enumerate(plan.members):
                copy_model(member.folder, fresh / MEMBERS / str(place))
            opened = partial(load_single, precision=precision, device=device)
            heard = hear(plan, fresh, opened, console)
            plan = replace(plan, panels=weighed(plan, heard, console))
            scores = judge_ensemble(plan, heard, fresh)
            write_ensemble(plan, scores, fresh)
    _print(plan, scores, console)
    return scores.as_dict()


def _print(plan: EnsemblePlan, scores: Scores, console: Console) -> None:
    """The dev scores of every member and of the ensemble."""
    judged = [name for name in plan.tasks if plan.dev(name)]
    grid = Grid("Dev scores")
    for title in ("", *(f"{n}\n{plan.tasks[n].metric}" for n in judged)):
        grid.add_column(title, justify="right" if title else "left")
    for kind in ("leaderboard", "mean"):
        grid.add_column(f"overall\n{kind}", justify="right")
    ways = {panel.how for panel in plan.panels.values() if len(panel.members) > 1}
    whole = f"ensemble by {', '.join(sorted(ways)) or 'task'}"
    rows = [*(member.scores for member in scores.members), scores]
    for name, row in zip((*plan.shown, whole), rows, strict=True):
        values = [row.metric(n, "dev", plan.tasks[n].metric) for n in judged]
        values += [row.overall_of("dev", "leaderboard"), row.overall_of("dev", "mean")]
        cells = ["–" if value is None else f"{value:.4f}" for value in values]
        grid.add_row(name, *cells, style="bold" if row is scores else None)
    print_grid(grid, console)
    if "weights" in ways:
        note(
            console,
            "the weights were chosen on these rows, so the ensemble's scores are optimistic; only "
            "rows it has not seen can say what the weights are worth",
        )
    if any(m.recipe and m.recipe.encoder == "minilm" for m in plan.members) and judged:
        say(console, MINILM, style="dim")
