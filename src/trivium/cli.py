"""`trivium check`, `train`, `evaluate` and so on: the verbs, at a shell.

Commands import their verb when they run, so that `--help` needs no torch.
"""

import json
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from trivium import __version__
from trivium.errors import RecipeError

FAILED, WRONG_INPUT, STOPPED = 1, 2, 130

app = typer.Typer(
    name="trivium",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Several tables of labelled text into one small BERT encoder that serves them all.",
    epilog="Start with: [bold]trivium train recipes/quickstart.yaml --out runs/first[/]",
)

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe's YAML file.")]
RunPath = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run's folder, or its model folder.")
]
RunPaths = Annotated[list[Path], typer.Argument(metavar="RUN", help="Two or more folders of runs.")]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Change a setting by its dotted path, such as [bold]stages.0.epochs=1[/]; repeatable.",
    ),
]
BudgetName = Annotated[
    str,
    typer.Option(
        "--budget",
        metavar="NAME",
        help="One of the recipe's budgets, a shorter version of it; [bold]full[/]: as it stands.",
    ),
]
Precision = Annotated[
    str, typer.Option(help="fp32, bf16, or auto: as trained, where the device has it.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]


@app.command()
def check(recipe: RecipePath, budget: BudgetName = "full", set_: Changes = None) -> None:
    """Preview a recipe: rows, labels, lengths, steps, memory, warnings. Trains nothing.

    Example: trivium check recipes/three-tasks.yaml --set stages.0.sampler=sqrt
    """
    with _messages() as console:
        from trivium.recipe import load_recipe
        from trivium.recipe.files import check_budgets
        from trivium.run.check import check as check_recipe

        loaded = load_recipe(recipe, set_ or [], budget)
        check_budgets(loaded, recipe)
        check_recipe(loaded, console, source=recipe)


@app.command()
def train(
    recipe: RecipePath,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; by default runs/NAME of the recipe.")
    ] = None,
    budget: BudgetName = "full",
    set_: Changes = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint, bit for bit.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier run in that folder.")
    ] = False,
) -> None:
    """Train a recipe into a run folder: model/, scores.json, journal.jsonl, predictions/.

    Ctrl-C saves and stops; --resume goes on. Example:
    trivium train recipes/three-tasks.yaml --out runs/three --set seed=1
    """
    run = out or Path("runs") / recipe.stem
    with _messages() as console:
        from trivium.recipe import load_recipe
        from trivium.run.scoreboard import print_scores
        from trivium.run.train import Interrupted
        from trivium.run.train import train as train_recipe

        try:
            scores = train_recipe(
                load_recipe(recipe, set_ or [], budget),
                run,
                resume=resume,
                overwrite=overwrite,
                console=console,
            )
        except Interrupted as stop:
            given = ["--budget", budget] if budget != "full" else []
            given += [word for change in set_ or [] for word in ("--set", change)]
            again = shlex.join(["trivium", "train", str(recipe), "--out", str(run), *given])
            console.print(
                f"{stop} Go on with: {again} --resume",
                soft_wrap=True, highlight=False, markup=False,
            )  # fmt: skip
            raise typer.Exit(STOPPED) from None
        if os.environ.get("RANK", "0") == "0":  # of several processes, one speaks
            print_scores(scores, console)
            console.print(f"model: {run / 'model'}", soft_wrap=True)


@app.command()
def evaluate(
    run: RunPath,
    task: Annotated[str | None, typer.Option(help="Only this task.")] = None,
    file: Annotated[Path | None, typer.Option(help="Another table with labels.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, as in scores.json.")] = False,
    precision: Precision = "auto",
    device: Device = "auto",
) -> None:
    """Score a run on its dev files, or one task on another file.

    Example: trivium evaluate runs/three --task sentiment --file more.csv
    """
    with _messages() as console:
        from trivium.run.files import evaluate as evaluate_run
        from trivium.run.scoreboard import print_scores

        scores = evaluate_run(
            run, task=task, file=file, precision=precision, device=device, console=console
        )
        if as_json:
            print(json.dumps(scores, indent=2))
        else:
            print_scores(scores, console)


@app.command()
def predict(
    run: RunPath,
    task: Annotated[str, typer.Option(help="The question to answer.")],
    file: Annotated[str, typer.Option(help="Table of texts (.csv .tsv .jsonl .parquet), or -.")],
    out: Annotated[str, typer.Option(help="Table of answers, by its ending, or - for TSV.")] = "-",
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="One more column per label.")
    ] = False,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="table, by OUT's ending, or cs224n: ID , ANSWER lines as the default final "
            "project of Stanford's CS224N hands them in.",
        ),
    ] = "table",
    precision: Precision = "auto",
    device: Device = "auto",
) -> None:
    """Answer every row of a table, in its order, keeping its columns; any size of file.

    Example: trivium predict runs/three --task sentiment --file in.csv --out out.csv
    """
    with _messages() as console:
        from trivium.run.files import predict_file

        rows = predict_file(
            run,
            task,
            file,
            out,
            probabilities=probabilities,
            form=form,
            precision=precision,
            device=device,
            console=console,
        )
        console.print(f"{rows:,} rows answered" + (f": {out}" if out != "-" else ""))


@app.command()
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
    """Unite several runs in one folder that evaluates and predicts as a run does.

    Recipes and encoders may differ, and a run may have only some of the tasks:
    each task is answered by the runs that have it. Their models are copied.

    Example: trivium ensemble runs/a runs/b runs/c --how vote --out runs/abc
    """
    with _messages() as console:
        from trivium.run.unite import ensemble as unite

        unite(
            runs, out, how, overwrite=overwrite, precision=precision, device=device, console=console
        )
        console.print(f"ensemble: {out}", soft_wrap=True, highlight=False)


@app.command()
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
    with _messages() as console:
        from trivium.run.scoreboard import print_scores
        from trivium.run.soup import soup as make_soup

        scores = make_soup(
            runs, out, overwrite=overwrite, precision=precision, device=device, console=console
        )
        print_scores(scores, console)
        console.print(f"model: {out / 'model'}", soft_wrap=True, highlight=False)


@app.command()
def lora(
    run: RunPath,
    peft: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write it in PEFT's format.")
    ] = None,
    merged: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write the encoder with LoRA merged into its weights."),
    ] = None,
) -> None:
    """Take a run's LoRA elsewhere: to PEFT, or into a plain Hugging Face encoder.

    Example: trivium lora runs/lora --peft adapter --merged encoder
    """
    with _messages() as console:
        from trivium.run.lora import export_lora

        for note in export_lora(run, peft=peft, merged=merged):
            console.print(f"[yellow]note[/] {note}", soft_wrap=True)
        for folder in (peft, merged):
            if folder is not None:
                console.print(f"written: {folder}", soft_wrap=True, highlight=False)


@app.command()
def study(
    recipes: Annotated[
        list[Path],
        typer.Argument(
            metavar="RECIPE",
            help="The rows of the table; the first is what others are compared to.",
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of the study: runs in NAME/seed-K, table.md, table.json.")
    ],
    seeds: Annotated[
        int, typer.Option(help="Runs per recipe, with the seeds 0 to N - 1 (not the recipe's own).")
    ] = 3,
    budget: BudgetName = "full",
    set_: Changes = None,
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
    with _messages() as console:
        from trivium.apps.study import has_failures
        from trivium.apps.study import study as run_study
        from trivium.run.train import Interrupted

        try:
            table = run_study(
                recipes, out, seeds=seeds, budget=budget, changes=set_ or [], console=console
            )
        except Interrupted as stop:
            console.print(str(stop), soft_wrap=True, highlight=False, markup=False)
            raise typer.Exit(STOPPED) from None
        if has_failures(table):
            raise typer.Exit(FAILED)


@app.command()
def tune(
    recipe: RecipePath,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the search; by default runs/NAME of the recipe."),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(help="How many in all, instead of the recipe's search.trials.")
    ] = None,
    storage: Annotated[
        str,
        typer.Option(help="sqlite or journal, a file in the folder, or the URL of a database."),
    ] = "sqlite",
    budget: BudgetName = "full",
    set_: Changes = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the sampler.")] = 0,
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
    with _messages() as console:
        from trivium.apps.tune import tune as run_search
        from trivium.run.train import Interrupted

        try:
            run_search(
                recipe,
                folder,
                trials=trials,
                storage=storage,
                budget=budget,
                changes=set_ or [],
                seed=seed,
                console=console,
            )
        except Interrupted as stop:
            console.print(str(stop), soft_wrap=True, highlight=False, markup=False)
            raise typer.Exit(STOPPED) from None


@app.command()
def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN", help="Folders of finished runs, or ensembles.")
    ],
    out: Annotated[Path, typer.Option(help="The HTML file.")] = Path("report.html"),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is there already.")
    ] = False,
) -> None:
    """Write one HTML file on a run, or on several: scores, curves, mistakes, costs.

    It can be read without a network, on a phone, and passed on. Needs
    trivium\\[report]. Example: trivium report runs/first --out report.html
    """
    with _messages() as console:
        from trivium.apps.report import report as write_report

        path = write_report(runs, out, overwrite=overwrite, console=console)
        size = path.stat().st_size / 2**20
        console.print(f"report: {path} ({size:.1f} MiB)", soft_wrap=True, highlight=False)


@app.command()
def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN",
            help="Folders of finished runs; a study's own folder stands for all its runs.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the verdict, too: .md or .json.")
    ] = None,
    resamples: Annotated[
        int | None,
        typer.Option(metavar="N", help="Of the bootstrap that intervals come from; else 5,000."),
    ] = None,
    time_: Annotated[
        bool, typer.Option("--time/--no-time", help="Time how fast the models answer.")
    ] = True,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is there already.")
    ] = False,
    device: Device = "auto",
) -> None:
    """Say what one model for several tasks costs or gains, and how sure that is.

    Runs whose recipes differ in the seed only are one system. Each task's
    baseline is the system trained for it alone, else the first that has it.
    Differences on dev come with a 95 % interval (a paired bootstrap of rows
    and seeds); training, memory, size and speed stand beside.

    Example: trivium compare runs/sentiment runs/similarity runs/both
    """
    with _messages() as console:
        from trivium.run.verdict import RESAMPLES
        from trivium.run.verdict import compare as compare_runs

        compare_runs(
            runs,
            out=out,
            resamples=RESAMPLES if resamples is None else resamples,
            time=time_,
            device=device,
            overwrite=overwrite,
            console=console,
        )
        if out is not None:
            console.print(f"verdict: {out}", soft_wrap=True, highlight=False, markup=False)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"trivium {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say and stop.")
    ] = False,
) -> None:
    pass


@contextmanager
def _messages() -> Iterator[Console]:
    """A console on standard error; the user's mistakes as one message and exit code 2."""
    console = Console(stderr=True)
    try:
        yield console
    except RecipeError as error:
        console.print(f"[bold red]error[/] {_escaped(error)}", soft_wrap=True, highlight=False)
        raise typer.Exit(WRONG_INPUT) from None
    except KeyboardInterrupt:
        console.print("stopped")
        raise typer.Exit(STOPPED) from None
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(1) from None


def _escaped(error: Exception) -> str:
    from rich.markup import escape

    return escape(str(error))


def main() -> None:
    # Threads that wait for one another burn their cores by default; beside any other program that
    # makes training many times slower. Read when torch is loaded, so set before.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    if parent := os.environ.pop("TRIVIUM_PARENT", None):  # set by a study for its runs
        # Started in the background, it would ignore the signal by which it is to stop.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        threading.Thread(target=_stop_without, args=(int(parent),), daemon=True).start()
    app()


def _stop_without(parent: int) -> None:
    """Ctrl-C for this process once its parent is gone, so that nothing trains on unseen."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGINT)
