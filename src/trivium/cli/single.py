"""Commands on one recipe or one run. They import their verb when they run; see `trivium.cli`."""

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer

from trivium.cli.options import (
    STOPPED,
    BudgetName,
    Changes,
    Device,
    Minutes,
    Only,
    Precision,
    PresetName,
    RecipePath,
    RunFolder,
    RunOrName,
    RunPath,
    answer,
    is_first,
    messages,
    names,
)
from trivium.garbage import without_collection
from trivium.run.screen.console import note, say

Resume = Annotated[
    bool, typer.Option("--resume", help="Go on from the last checkpoint, bit for bit.")
]
AutoResume = Annotated[
    bool,
    typer.Option(
        "--auto-resume",
        help="Go on if there is a run, with as many processes as there are now; else begin.",
    ),
]
OverwriteRun = Annotated[
    bool, typer.Option("--overwrite", help="Replace an earlier run in that folder.")
]
NoProbe = Annotated[
    bool, typer.Option("--no-probe", help="No baselines before training: probe=false.")
]


def check(
    recipe: RecipePath,
    budget: BudgetName = "full",
    set_: Changes = None,
    only: Only = None,
    preset: PresetName = None,
    time_: Annotated[
        bool, typer.Option("--time", help="Run a few steps, to tell how long it will take.")
    ] = False,
    probe: Annotated[
        bool,
        typer.Option("--probe", help="Judge the usual answer and a linear probe, too; seconds."),
    ] = False,
) -> None:
    """Preview a recipe: rows, labels, lengths, steps, memory, warnings. Trains nothing.

    Example: trivium check recipes/quickstart.yaml --set stages.0.sampler=sqrt --probe
    """
    if not is_first():
        return
    with messages() as console:
        with without_collection():
            from trivium.run.check import check as check_recipe

        check_recipe(
            recipe, console, budget=budget, changes=set_ or [], only=names(only), preset=preset,
            time=time_, probe=probe,
        )  # fmt: skip


def train(
    recipe: RecipePath,
    out: RunFolder = None,
    budget: BudgetName = "full",
    set_: Changes = None,
    only: Only = None,
    preset: PresetName = None,
    minutes: Minutes = None,
    resume: Resume = False,
    auto_resume: AutoResume = False,
    overwrite: OverwriteRun = False,
    no_probe: NoProbe = False,
) -> None:
    """Train a recipe into a run folder: model/, scores.json, journal.jsonl, predictions/.

    Ctrl-C saves and stops; --resume goes on. Example:
    trivium train recipes/quickstart.yaml --out runs/first --set seed=1
    """
    run = out or Path("runs") / recipe.stem
    set_ = [*(set_ or []), *(["probe=false"] if no_probe else [])]
    with messages() as console:
        with without_collection():
            from trivium.apps.presets import train as train_recipe
            from trivium.errors import Interrupted, RecipeError
            from trivium.run.folder.names import MODEL
            from trivium.run.folder.shown import print_scores

        if resume and auto_resume:
            raise RecipeError(
                "--resume wants a run to go on with, and --auto-resume begins where there is none: "
                "give one of the two."
            )
        try:
            scores = train_recipe(
                recipe, run, budget=budget, changes=set_, only=names(only), preset=preset,
                minutes=minutes, resume="auto" if auto_resume else resume, overwrite=overwrite,
                console=console,
            )  # fmt: skip
        except Interrupted as stop:
            again = _again(recipe, run, budget, set_, only, preset, minutes)
            say(console, f"{stop} Go on with: {again} --resume")
            raise typer.Exit(STOPPED) from None
        if is_first():
            print_scores(scores, console)
            say(console, f"model: {run / MODEL if (run / MODEL).is_dir() else run}")


def _again(
    recipe: Path,
    run: Path,
    budget: str,
    changes: list[str],
    only: str | None,
    preset: str | None,
    minutes: float | None,
) -> str:
    """What to type to train the same."""
    given = ["--budget", budget] if budget != "full" else []
    given += [word for change in changes for word in ("--set", change)]
    given += ["--only", only] if only is not None else []
    given += ["--preset", preset] if preset is not None else []
    given += ["--minutes", f"{minutes:g}"] if minutes is not None else []
    return shlex.join(["trivium", "train", str(recipe), "--out", str(run), *given])


def evaluate(
    run: RunOrName,
    task: Annotated[str | None, typer.Option(help="Only this task.")] = None,
    file: Annotated[Path | None, typer.Option(help="Another table with labels.")] = None,
    split: Annotated[
        str | None, typer.Option(help="dev or test; by default both, where there are.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, as in scores.json.")] = False,
    precision: Precision = "auto",
    device: Device = "auto",
) -> None:
    """Score a run on its dev files, or one task on another file.

    Example: trivium evaluate runs/three --task sentiment --file more.csv
    """
    with messages() as console:
        with without_collection():
            from trivium.run.evaluate import evaluate as evaluate_run
            from trivium.run.folder.shown import print_scores

        scores = evaluate_run(
            run,
            task=task,
            file=file,
            split=split,
            precision=precision,
            device=device,
            console=console,
        )
        if as_json:
            answer(json.dumps(scores, indent=2))
        else:
            print_scores(scores, console)


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
    with messages() as console:
        from trivium.run.export_lora import export_lora

        for line in export_lora(run, peft=peft, merged=merged):
            note(console, line)
        for folder in (peft, merged):
            if folder is not None:
                say(console, f"written: {folder}")
