"""Commands on several runs or recipes. They import their verb when they run; see `trivium.cli`."""

from pathlib import Path
from typing import Annotated

import typer

from trivium.cli.options import (
    FAILED,
    Address,
    AtOnce,
    BudgetName,
    Changes,
    Cpus,
    Device,
    Gpus,
    Memory,
    Precision,
    RecipePath,
    RunPaths,
    Store,
    Where,
    messages,
)
from trivium.run.screen.console import say

StudyRecipes = Annotated[
    list[Path],
    typer.Argument(
        metavar="RECIPE", help="The rows of the table; the first is what others are compared to."
    ),
]
StudyFolder = Annotated[
    Path, typer.Option(help="Folder of the study: runs in NAME/seed-K, table.md, table.json.")
]
Singles = Annotated[
    bool, typer.Option("--singles", help="Train each recipe for every task of it alone, too.")
]
SearchFolder = Annotated[
    Path | None, typer.Option(help="Folder of the search; by default runs/NAME of the recipe.")
]
Trials = Annotated[
    int | None, typer.Option(help="How many in all, instead of the recipe's search.trials.")
]
Storage = Annotated[
    str, typer.Option(help="sqlite or journal, a file in the folder, or the URL of a database.")
]


def ensemble(
    runs: RunPaths,
    out: Annotated[Path, typer.Option(help="Folder of the ensemble: members/, scores.json.")],
    how: Annotated[
        str,
        typer.Option(
            help="vote (the majority's label), mean (of probabilities), or weights (a mean with "
            "weights chosen on dev)."
        ),
    ] = "mean",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier ensemble in that folder.")
    ] = False,
    precision: Precision = "auto",
    device: Device = "auto",
) -> None:
    """Put several runs together in one folder that evaluates and predicts as a run does.

    Recipes and encoders may differ, and a run may have only some of the tasks:
    each task is answered by the runs that have it. Their models are copied.

    Example: trivium ensemble runs/a runs/b runs/c --how vote --out runs/abc
    """
    with messages() as console:
        from trivium.run.ensemble import ensemble as unite

        unite(
            runs, out, how, overwrite=overwrite, precision=precision, device=device, console=console
        )
        say(console, f"ensemble: {out}")


def soup(
    runs: RunPaths,
    out: Annotated[Path, typer.Option(help="Folder of the soup, an ordinary run.")],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier soup in that folder.")
    ] = False,
    precision: Precision = "auto",
    device: Device = "auto",
) -> None:
    """Average the weights of runs of one recipe with several seeds, as long as dev gains.

    The best run on dev is the start; each next one is added unless the overall
    dev score falls. Runs whose heads began differently rarely average well.

    Example: trivium soup runs/seed-0 runs/seed-1 runs/seed-2 --out runs/soup
    """
    with messages() as console:
        from trivium.run.folder.names import MODEL
        from trivium.run.folder.shown import print_scores
        from trivium.run.soup import soup as make_soup

        scores = make_soup(
            runs, out, overwrite=overwrite, precision=precision, device=device, console=console
        )
        print_scores(scores, console)
        say(console, f"model: {out / MODEL}")


def study(
    recipes: StudyRecipes,
    out: StudyFolder,
    seeds: Annotated[
        int, typer.Option(help="Runs per recipe, with the seeds 0 to N - 1 (not the recipe's own).")
    ] = 3,
    budget: BudgetName = "full",
    set_: Changes = None,
    singles: Singles = False,
    on: Where = "here",
    address: Address = None,
    cpus: Cpus = None,
    memory: Memory = None,
    gpus: Gpus = None,
    at_once: AtOnce = None,
    store: Store = None,
) -> None:
    """Train several recipes with several seeds; compare them in one table.

    Each run has a process of its own. All recipes are trained with seed 0,
    then all with seed 1, and so on. The table is renewed after every run.
    What recipes say was reported stands beside, with the order of both.

    Stopped or killed, the same command goes on: finished runs are skipped,
    half-done ones resumed. Exit code 1 if a run failed; the others go on.

    Example: trivium study recipes/study/sum.yaml recipes/study/pcgrad.yaml
    --seeds 3 --set stages.0.epochs=2 --out runs/study
    """
    with messages() as console:
        from trivium.apps.study import has_failures
        from trivium.apps.study import study as run_study
        from trivium.run.cluster.asked import asked_for

        table = run_study(
            recipes,
            out,
            seeds=seeds,
            budget=budget,
            changes=set_ or [],
            singles=singles,
            on=asked_for(on, address, cpus, memory, gpus, at_once, store),
            console=console,
        )
        if has_failures(table):
            raise typer.Exit(FAILED)


def tune(
    recipe: RecipePath,
    out: SearchFolder = None,
    trials: Trials = None,
    storage: Storage = "sqlite",
    budget: BudgetName = "full",
    set_: Changes = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the sampler.")] = 0,
    on: Where = "here",
    address: Address = None,
    cpus: Cpus = None,
    memory: Memory = None,
    gpus: Gpus = None,
    at_once: AtOnce = None,
    store: Store = None,
) -> None:
    """Search a recipe's settings: what its [bold]search[/] says is tried, by Optuna.

    Each trial is a run in a process of its own, under OUT/trials. Leaves
    best.yaml (or pareto/ for several objectives), table.md, trials.csv and
    pictures. The same command in other terminals helps along; stopped or
    killed, it goes on, and an interrupted trial is resumed. Needs
    trivium\\[tune]. Exit code 2 if too many trials failed.

    Example: trivium tune recipes/search/quickstart.yaml --out runs/search
    """
    folder = out or Path("runs") / recipe.stem
    with messages() as console:
        from trivium.apps.tune import tune as run_search
        from trivium.run.cluster.asked import asked_for

        run_search(
            recipe,
            folder,
            trials=trials,
            storage=storage,
            budget=budget,
            changes=set_ or [],
            seed=seed,
            on=asked_for(on, address, cpus, memory, gpus, at_once, store),
            console=console,
        )
