"""Studies: several recipes with several seeds, each run in a process of its own, in one table."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from trivium.apps.study.board import Board
from trivium.apps.study.crowd import carry_out_crowd, outcome_at_once
from trivium.apps.study.ensembles import Run
from trivium.apps.study.entries import AnyRecipes, write_recipes
from trivium.apps.study.facts import Table
from trivium.apps.study.runs import PAGE, Plan, plan_study, uneven
from trivium.apps.study.shown import print_table, write_table
from trivium.apps.study.table import summarise
from trivium.errors import Interrupted, RecipeError
from trivium.recipe.budget import FULL
from trivium.run.cluster.asked import OnHere, OnRay, words_of
from trivium.run.cluster.pool import AnyPool, pool_of
from trivium.run.folder.atomic import fresh_name, refusals_told, refuse_url
from trivium.run.folder.locks import refuse_without_locks
from trivium.run.jobs.child import Outcome, Stop, stop_on_signal, train_run
from trivium.run.screen.console import heard_on, say, warn

__all__ = ["has_failures", "study"]


def study(
    recipes: AnyRecipes,
    out: str | Path,
    *,
    seeds: int = 3,
    budget: str = FULL,
    changes: Sequence[str] = (),
    singles: bool = False,
    on: OnRay | OnHere | Literal["ray"] | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Train every recipe with the seeds 0 to `seeds` - 1, into `out`.

    recipes: files, or recipes and dictionaries in place of files, as in `AnyRecipe`; or all of them
    by the names of their rows. One that is in no file of its row's name is written into `out`, as
    NAME.yaml; without a name it is recipe-1, recipe-2, … budget: of every recipe. changes:
    `dotted.path=value` for every recipe, after the budget. singles: train every recipe of several
    tasks for each of them alone, too, in rows called NAME-only-TASK (`trivium.recipe.only`).

    on: None: one run after another; `OnHere`, several at a time on this machine; `OnRay` or "ray",
    on a cluster. Runs differ in nothing else.

    A run is `trivium train` in a child process, so its peak memory is its own, and what kills it
    kills nothing else. Runs that are finished are skipped and half-done ones resumed, so after any
    end the same call goes on. The recipe of an ensemble is carried out once the runs of its members
    are there.

    Returns the content of `table.json`; a run that failed has the state "failed" in it. Raises
    RecipeError before anything is written where something is wrong, and Interrupted after Ctrl-C or
    SIGTERM, once the present run is saved.

        table = trivium.study(["sum.yaml", "pcgrad.yaml"], "runs/study", seeds=3)
        [(row["name"], row["overall"]["leaderboard"]["mean"]) for row in table["recipes"]]
    """
    refuse_without_locks("study")
    refuse_url(out, "Name one of this machine; others hand runs over with --on ray --store URL")
    console = heard_on(console)
    on = OnRay() if on == "ray" else on
    plan = plan_study(recipes, out, seeds, changes, budget, singles=singles)
    plan = replace(plan, where=tuple(words_of(on)))
    with nullcontext() if on is None else pool_of(on, plan.out, console) as pool:
        return _study(plan, pool, console).as_dict()


def _study(plan: Plan, pool: AnyPool | None, console: Console) -> Table:
    """pool: where the runs are trained; None: here, one after another."""
    _make_folder(plan)
    say(
        console,
        f"recipes x seeds: {len(plan.paths)} x {plan.seeds} = {len(plan.runs)} runs into "
        f"{plan.out}, {sum(run.is_finished for run in plan.runs)} of them finished",
    )
    for line in uneven(plan):
        warn(console, line)
    left = f"Finished runs are kept; once there is room, go on with: {plan.command}"
    with refusals_told(plan.out, lambda: left), stop_on_signal() as stop:
        if pool is None:
            failed = _carry_out_all(plan, stop, console)
        else:
            failed = carry_out_crowd(plan, pool, stop, console)
        table = summarise(plan, failed)
        write_table(plan, table)
    done = sum(row.n for row in table.recipes)
    if stop.asked and done + len(failed) < len(plan.runs):
        raise Interrupted(
            f"stopped; {done} of {len(plan.runs)} runs are done. Go on with: {plan.command}"
        )
    print_table(table, console)
    say(console, f"table: {plan.out / PAGE}")
    if failed:
        say(
            console,
            f"{len(failed)} of {len(plan.runs)} runs failed. Once the cause is gone, go on with: "
            f"{plan.command}",
        )
    return table


def has_failures(table: dict[str, Any]) -> bool:
    """Whether a run of the study failed. table: the content of `table.json`."""
    return any(run["state"] == "failed" for row in table["recipes"] for run in row["runs"])


def _carry_out_all(plan: Plan, stop: Stop, console: Console) -> dict[Run, str]:
    """One run after another, until all are done or a stop is asked for; why some failed."""
    failed: dict[Run, str] = {}
    with Board(console, plan) as board:
        for run in plan.runs:
            outcome = _carry_out(run, stop, board)
            if outcome.state == "failed":
                failed[run] = outcome.reason
            if outcome.how != "skipped":
                write_table(plan, summarise(plan, failed))
            if stop.asked:
                break
    return failed


def _carry_out(run: Run, stop: Stop, board: Board) -> Outcome:
    outcome = outcome_at_once(run)
    if outcome is None:
        board.begin(run)
        is_said = False

        def watch(log_start: int, waits_for: str) -> None:
            nonlocal is_said
            if stop.asked and not is_said:
                is_said = True
                board.stopping()
            board.watch(log_start, waits_for)

        outcome = train_run(run, stop, watch)
    board.end(run, outcome)
    return outcome


def _make_folder(plan: Plan) -> None:
    out = plan.out
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = fresh_name(out / PAGE)  # of two that begin now, neither takes the other's away
        probe.touch()
        probe.unlink()
        write_recipes(plan.texts)
    except OSError as error:
        raise RecipeError(f"{out}: cannot be written to: {error.strerror}.") from error
