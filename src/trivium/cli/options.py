"""What the commands have in common: options, exit codes, and how a mistake is told."""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from trivium import NEEDS_TORCH
from trivium.errors import Interrupted, NotWrittenError, RecipeError, system_said
from trivium.run.screen.console import plain_console, say, settle, silence

FAILED, WRONG_INPUT, STOPPED = 1, 2, 130

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe's YAML file.")]
RunPath = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run's folder, or its model folder.")
]
RunOrName = Annotated[
    Path,
    typer.Argument(
        metavar="RUN",
        help="A run's folder, or its model folder; or user/name, a model on the hub.",
    ),
]
RunPaths = Annotated[list[Path], typer.Argument(metavar="RUN", help="Two or more folders of runs.")]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Change a setting by its dotted path, such as [bold]stages.0.epochs=1[/]; repeatable. "
        "[bold]*[/] stands for every name or number there, as in [bold]'stages.*.epochs=1'[/].",
    ),
]
RunFolder = Annotated[
    Path | None, typer.Option(help="Folder of the run; by default runs/NAME of the recipe.")
]
Minutes = Annotated[
    float | None,
    typer.Option(help="End by then, with a model judged: no more steps than there is time for."),
]
Only = Annotated[
    str | None,
    typer.Option(
        "--only",
        metavar="TASK",
        help="Of the recipe's tasks only this one, or these: [bold]topic,urgency[/].",
    ),
]
PresetName = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="NAME",
        help="[bold]fast[/]: a probe on the encoder as it is, in seconds; [bold]good[/]: trained "
        "as the recipe says; [bold]best[/]: several seeds of that, united.",
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
TaskNames = Annotated[
    str | None,
    typer.Option(
        help="The question to answer; or several, as in [bold]topic,urgency[/], which share "
        "one pass over the texts and put their name before their columns."
    ),
]
Precision = Annotated[
    str, typer.Option(help="fp32, bf16, or auto: as trained, where the device has it.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]

TableForm = Annotated[
    str,
    typer.Option(
        "--format",
        help="table, by OUT's ending, or cs224n: ID , ANSWER lines as the default final "
        "project of Stanford's CS224N hands them in.",
    ),
]
Prefix = Annotated[str, typer.Option(help="Put before the names of the columns that are added.")]
OverwriteFile = Annotated[
    bool, typer.Option("--overwrite", help="Replace OUT if it is there already.")
]

Backend = Annotated[
    str, typer.Option(help="torch, onnx, openvino, or auto: what the folder was written for.")
]

TableFile = Annotated[
    str, typer.Option("--file", help="Table of texts (.csv .tsv .jsonl .parquet), or - (CSV, TSV).")
]
AnswersFile = Annotated[
    str, typer.Option("--out", help="Table of answers, by its ending, or - for TSV.")
]
EveryTask = Annotated[bool, typer.Option("--all", help="Every task whose columns the table has.")]
WithProbabilities = Annotated[
    bool, typer.Option("--probabilities", help="One more column per label.")
]
InOneColumn = Annotated[
    bool, typer.Option("--json", help="With --probabilities: one column for all, as JSON.")
]
TopK = Annotated[
    int | None,
    typer.Option("--top-k", metavar="K", help="K most probable labels, with their probabilities."),
]
LeastCertain = Annotated[
    int | None,
    typer.Option(
        "--least-certain",
        metavar="N",
        help="Only the N rows whose label is least certain, those first: what to label next.",
    ),
]

Where = Annotated[
    str,
    typer.Option("--on", help="here, on this machine, or ray: on the machines of a cluster."),
]
Address = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="With --on ray: the cluster; else this machine alone."),
]
Cpus = Annotated[
    int | None,
    typer.Option(help="With --jobs: threads of each run; on ray also the cores that it is given."),
]
ShardCpus = Annotated[
    int | None, typer.Option(help="With --on ray: cores and threads of each worker.")
]
Memory = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="With --on ray: of each run, such as 8GB; else estimated."),
]
Gpus = Annotated[
    float | None,
    typer.Option(help="With --on ray: of each run; else one where there are any."),
]
AtOnce = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        "--at-once",
        metavar="N",
        help="Runs at a time; else one after another here, on ray as many as there is room for.",
    ),
]
ShardsAtOnce = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        "--at-once",
        metavar="N",
        help="With --on ray: tables at a time; else as many as there is room for.",
    ),
]
Store = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="With --on ray: where machines that do not see OUT hand runs over (s3://, gs://, …).",
    ),
]


@contextmanager
def messages() -> Iterator[Console]:
    """A console on standard error. Inside, a mistake of the user's ends the command with a message
    and exit code 2, and a stop by Ctrl-C with what was kept and exit code 130."""
    console = plain_console()
    try:
        yield console
    except RecipeError as error:
        _tell_torchrun(str(error))
        if not is_first():
            raise typer.Exit(WRONG_INPUT) from None
        say(console, ("error", "bold red"), f" {error}")
        raise typer.Exit(WRONG_INPUT) from None
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        say(console, ("error", "bold red"), f" this command needs PyTorch: {NEEDS_TORCH}")
        raise typer.Exit(WRONG_INPUT) from None
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        silence(sys.stdout)
        raise typer.Exit(FAILED) from None
    except OSError as error:  # a full disk, or one that fails
        say(console, ("error", "bold red"), f" {_one_line(error)}")
        settle(sys.stdout)
        raise typer.Exit(FAILED) from None
    except Interrupted as stop:
        say(console, str(stop))
        raise typer.Exit(STOPPED) from None
    except KeyboardInterrupt:
        say(console, "stopped")
        raise typer.Exit(STOPPED) from None


def names(given: str | None) -> list[str]:
    """Of a list with commas."""
    return [name.strip() for name in given.split(",")] if given is not None else []


def is_first() -> bool:
    """Whether this process speaks, if torchrun started several."""
    return os.environ.get("RANK", "0") == "0"


def _tell_torchrun(message: str) -> None:
    """Have torchrun, whose report of a failed process says nothing of its own, end with this."""
    if path := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        # In the form of torch's own `ErrorHandler`.
        told = {"message": message, "extraInfo": {"timestamp": str(int(time.time()))}}
        Path(path).write_text(json.dumps({"message": told}), encoding="utf-8")


def answer(text: str) -> None:
    """What was asked for, on standard output."""
    if sys.stdout is None:
        raise RecipeError("standard output is closed, so there is no place for the answer.")
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise NotWrittenError(f"standard output: {system_said(error)}.", error) from error


def _one_line(error: OSError) -> str:
    return str(error) if isinstance(error, NotWrittenError) else f"{system_said(error)}."
