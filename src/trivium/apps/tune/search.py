"""A search from its recipe to its results: one worker's part in it."""

import shlex
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import optuna
from rich.console import Console

from trivium.apps.tune.board import Board
from trivium.apps.tune.claims import PLACE, Claims
from trivium.apps.tune.crowd import work_crowd
from trivium.apps.tune.folder import RECIPE, open_folder
from trivium.apps.tune.results import print_results
from trivium.apps.tune.rows import Overview
from trivium.apps.tune.sampling import Space, make_pruner, make_sampler
from trivium.apps.tune.storage import LOCAL, connect, open_file, open_study, public_name
from trivium.apps.tune.trial import carry_out
from trivium.apps.tune.worker import Look, Worker
from trivium.errors import Interrupted, RecipeError
from trivium.recipe import AnyRecipe, RecipeFile, load_recipe_file
from trivium.recipe.budget import FULL
from trivium.recipe.given import Given, take
from trivium.recipe.space import points_of, search_of, trials_of
from trivium.run.assembly.device import choose_device
from trivium.run.cluster.asked import OnHere, OnRay, words_of
from trivium.run.cluster.pool import AnyPool, pool_of
from trivium.run.folder.atomic import refuse_url
from trivium.run.folder.locks import refuse_without_locks
from trivium.run.folder.objectives import check_metrics, objectives_of
from trivium.run.jobs.child import Stop, stop_on_signal
from trivium.run.jobs.follow import Progress
from trivium.run.rows.load import load_data
from trivium.run.screen.console import heard_on, say


def tune(
    recipe: AnyRecipe,
    out: str | Path,
    *,
    trials: int | None = None,
    storage: str = "sqlite",
    budget: str = FULL,
    changes: Sequence[str] = (),
    seed: int = 0,
    on: OnRay | OnHere | Literal["ray"] | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Search a recipe's `search.space` by trials, each of them `trivium train` in a child process.

    Every process that calls this with the same folder, or the same database, works on the same
    search until `trials` (by default what the recipe says) are finished or pruned in all. After
    any end the same call goes on: an interrupted trial is resumed, none is lost or done twice.
    recipe: its file, or a `RecipeFile` or a dictionary in place of one: see `AnyRecipe`. storage:
    sqlite or journal, a file in `out`, or a database's URL. budget: one of the recipe's. changes:
    `dotted.path=value`, after the budget. seed: of the sampler. on: `OnHere`, several
    trials at a time on this machine; `OnRay`, as many as the machines of a cluster have room for.

    Returns the trials, and the numbers of the best: of one, or of the Pareto front's. Raises
    RecipeError where something is wrong, before anything is trained, or once too many trials
    failed; and Interrupted after Ctrl-C or SIGTERM, once the present trial is saved.

        found = trivium.tune("recipes/search/quickstart.yaml", "runs/search", trials=12)
    """
    refuse_without_locks("tune")
    refuse_url(out, "Name one of this machine; others hand runs over with --on ray --store URL")
    console = heard_on(console)
    on = OnRay() if on == "ray" else on
    worker = _prepare(
        recipe,
        Path(out),
        trials=trials,
        storage=storage,
        changes=changes,
        seed=seed,
        budget=budget,
        on=on,
    )
    with nullcontext() if on is None else pool_of(on, worker.folder.path, console) as pool:
        return _tune(worker, pool, console)


def _tune(worker: Worker, pool: AnyPool | None, console: Console) -> dict[str, Any]:
    """pool: where trials are trained; None: here, one after another."""
    say(console, f"search for {worker.aim}: {worker.view().counts()}, into {worker.folder.path}")
    with worker.explained(), stop_on_signal() as stop:
        if pool is not None:
            gave_up = work_crowd(worker, pool, stop, console)
        else:
            with Board(console, worker.view()) as board:
                gave_up = _work(worker, board, stop)
        worker.write()
        view = worker.view()
        notes = worker.draw()
    unfinished = len(view.ended) < view.total
    if stop.asked and unfinished:
        raise Interrupted(f"stopped; {view.counts()}. Go on with: {worker.command}")
    print_results(console, worker.folder.path, view)
    for note in notes:
        say(console, note)
    if gave_up:
        raise RecipeError(f"{gave_up} Once the cause is gone, go on with: {worker.command}")
    if unfinished and not worker.claims.running():
        say(console, worker.unfinished())
    for trial in worker.claims.running():
        say(
            console,
            f"trial {trial.number} is another worker's, in {trial.user_attrs.get(PLACE, '?')}; "
            "should it be left behind, the same command takes it up",
        )
    return _told(view)


def _told(view: Overview) -> dict[str, Any]:
    return {
        "objectives": [objective.name for objective in view.objectives],
        "best": view.best,
        "trials": [
            {
                "number": row.number,
                "state": row.state,
                "values": list(row.values),
                "settings": row.settings,
                "scores": dict(row.scores),
                "costs": dict(row.costs),
            }
            for row in view.rows
        ],
    }


def _prepare(
    given: AnyRecipe | Given,
    out: Path,
    *,
    trials: int | None,
    storage: str,
    changes: Sequence[str],
    seed: int,
    budget: str = FULL,
    on: OnRay | OnHere | None = None,
) -> Worker:
    """All that can be known before the first trial is checked; then the folder is made."""
    if trials is not None and trials < 1:
        raise RecipeError(f"--trials {trials}: a search needs at least one trial.")
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # what there is to say, we say
    given = take(given)
    path, loaded = given.path, load_recipe_file(given, changes, budget)
    search, recipe = search_of(loaded, path), loaded.recipe
    # Other machines may have a GPU.
    choose_device("auto" if isinstance(on, OnRay) else recipe.device)
    objectives = objectives_of(recipe, search)
    check_metrics(objectives, *load_data(recipe), path)
    public = public_name(storage)
    database = None if storage in LOCAL else connect(storage, public)
    file = RecipeFile(recipe=recipe, search=search)
    folder = open_folder(out, file, public)
    opened = database or open_file(folder, storage)
    points = points_of(recipe, search, path)
    space = Space(search, points, seed)
    # A recipe that has no file goes on from the one that is in the folder now.
    name = path.stem if given.is_file else Path(RECIPE).stem

    def open_or_begin() -> optuna.Study:
        return optuna.create_study(
            storage=opened,
            study_name=name,  # by which workers in other folders find it in a database
            directions=["minimize" if o.is_cost else "maximize" for o in objectives],
            load_if_exists=True,
            sampler=make_sampler(search, seed),
            pruner=make_pruner(search.pruner),
        )

    study = open_study(folder, opened, name, file, open_or_begin)
    extent = search if trials is None else search.model_copy(update={"trials": trials})
    claims = Claims(study, folder, space, path, recipe, trials_of(extent, points))
    words = ["trivium", "tune", str(path if given.is_file else out / RECIPE), "--out", str(out)]
    words += ["--trials", str(trials)] if trials else []
    words += ["--storage", public] if storage != "sqlite" else []
    words += ["--seed", str(seed)] if seed else []
    words += [*_changed(budget, changes), *words_of(on)] if given.is_file else words_of(on)
    return Worker(claims, objectives, search, shlex.join(words), loaded.reported)


def _changed(budget: str, changes: Sequence[str]) -> list[str]:
    """The options by which a recipe's file is changed."""
    budgets = ["--budget", budget] if budget != FULL else []
    return [*budgets, *(word for change in changes for word in ("--set", change))]


def _work(worker: Worker, board: Board, stop: Stop) -> str:
    """Trial after trial, until there is none left; why it gave up, if it did."""
    began, failures = time.monotonic(), 0
    limit_s = 60 * worker.search.timeout if worker.search.timeout else float("inf")
    while not stop.asked and time.monotonic() - began < limit_s:
        claim = worker.claims.next()
        if claim is None:
            break
        stages = [stage.name for stage in claim.job.recipe.stages]
        progress = Progress(claim.job.folder, stages)
        board.begin(claim, progress, worker.view())
        look = Look(worker, board, stop)
        with claim.log:
            state, outcome = carry_out(
                worker.claims.study,
                claim,
                worker.objectives,
                stop=stop,
                progress=progress,
                look=look,
            )
        board.end(claim, state, outcome, worker.view())
        if state == "stopped":
            continue
        worker.write()
        failures = failures + 1 if state == "failed" else 0
        if failures and (reason := worker.gives_up(failures, outcome.reason)):
            return reason
    return ""
