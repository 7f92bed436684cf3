"""Commands that judge runs. They import their verb when they run; see `trivium.cli`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from trivium.cli.options import (
    FAILED,
    Address,
    AtOnce,
    BudgetName,
    Changes,
    Cpus,
    Device,
    Where,
    messages,
)
from trivium.errors import RecipeError
from trivium.run.screen.console import say

if TYPE_CHECKING:
    from trivium.run.cluster.asked import OnHere, OnRay

AgainstSingles = Annotated[
    Path | None,
    typer.Option(
        metavar="RECIPE",
        help="Train this recipe, and for each of its tasks alone, as far as that is not done; "
        "compare these. With --seeds, --budget, --set, and --runs for their folder.",
    ),
]
Seeds = Annotated[int, typer.Option(help="With --against-singles: seeds 0 to N - 1.")]
Trained = Annotated[
    Path | None,
    typer.Option(
        "--runs", metavar="FOLDER", help="With --against-singles; else runs/NAME-singles."
    ),
]
Runs = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="RUN",
        help="Folders of finished runs; a study's own folder stands for all its runs.",
    ),
]
Split = Annotated[str, typer.Option(help="dev, or test: of runs whose recipes name test files.")]
Verdict = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write the verdict, too: .md or .json.")
]
Resamples = Annotated[
    int | None,
    typer.Option(metavar="N", help="Of the bootstrap that intervals come from; else 5,000."),
]
Timed = Annotated[bool, typer.Option("--time/--no-time", help="Time how fast the models answer.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace a file that is there already.")
]


def compare(
    runs: Runs = None,
    against_singles: AgainstSingles = None,
    seeds: Seeds = 1,
    trained: Trained = None,
    budget: BudgetName = "full",
    set_: Changes = None,
    split: Split = "dev",
    out: Verdict = None,
    resamples: Resamples = None,
    time_: Timed = True,
    overwrite: Overwrite = False,
    device: Device = "auto",
    on: Where = "here",
    address: Address = None,
    cpus: Cpus = None,
    at_once: AtOnce = None,
) -> None:
    """Say what one model for several tasks costs or gains, and how sure that is.

    Runs whose recipes differ in the seed only (or in device and folder of
    data) are one system. Each task's baseline is the system trained for it
    alone, else the first that has it.
    Differences on dev come with a 95 % interval (a paired bootstrap of rows
    and seeds); training, memory, size and speed stand beside.

    Examples: trivium compare runs/sentiment runs/similarity runs/both;
    trivium compare --against-singles recipes/quickstart.yaml --seeds 3
    """
    given = list(runs or [])
    with messages() as console:
        from trivium.run.cluster.asked import asked_for
        from trivium.run.compare import compare as compare_runs
        from trivium.run.compare import refuse_unusable
        from trivium.run.verdict.bootstrap import RESAMPLES

        resamples = RESAMPLES if resamples is None else resamples
        if against_singles is not None:
            refuse_unusable(out, resamples, overwrite=overwrite)
            folder = trained or Path("runs") / f"{against_singles.stem}-singles"
            given.insert(0, folder)
            cluster = asked_for(on, address, cpus, at_once=at_once)
            _train_singles(against_singles, folder, seeds, budget, set_ or [], cluster, console)
        elif trained or seeds != 1 or budget != "full" or set_ or on != "here" or at_once:
            raise RecipeError(NOTHING_TO_TRAIN)
        compare_runs(
            given, out=out, split=split, resamples=resamples, time=time_, device=device,
            overwrite=overwrite, console=console,
        )  # fmt: skip
        if out is not None:
            say(console, f"verdict: {out}")


NOTHING_TO_TRAIN = (
    "--runs, --seeds, --budget, --set, --on and --jobs: say what to train, by --against-singles; "
    "runs that are there are compared as they are."
)


def _train_singles(
    recipe: Path,
    out: Path,
    seeds: int,
    budget: str,
    changes: list[str],
    cluster: "OnRay | OnHere | None",
    console: Console,
) -> None:
    """A study of the recipe and of its tasks alone. Raises typer.Exit where a run is missing."""
    from trivium.apps.study import has_failures
    from trivium.apps.study import study as run_study

    table = run_study(
        [recipe], out, seeds=seeds, budget=budget, changes=changes, singles=True,
        on=cluster, console=console,
    )  # fmt: skip
    if has_failures(table):
        raise typer.Exit(FAILED)


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN",
            help="Folders of finished runs, or ensembles; a study's own stands for all its runs.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The HTML file.")] = Path("report.html"),
    explain: Annotated[
        int,
        typer.Option(metavar="N", help="Of each task N mistakes word by word; asks for each word."),
    ] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Write one HTML file on a run, or on several: scores, curves, mistakes, costs.

    It can be read without a network, on a phone, and passed on. Needs
    trivium\\[report]. Example: trivium report runs/first --out report.html
    """
    with messages() as console:
        from trivium.apps.report import report as write_report

        path = write_report(runs, out, explain=explain, overwrite=overwrite, console=console)
        size = path.stat().st_size / 2**20
        say(console, f"report: {path} ({size:.1f} MiB)")
