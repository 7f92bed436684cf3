"""What the commands have in common: options, exit codes, and how a mistake is told."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from trivium import NEEDS_TORCH
from trivium.errors import RecipeError
from trivium.run.screen.console import plain_console, say

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

Backend = Annotated[
    str, typer.Option(help="torch, onnx, openvino, or auto: what the folder was written for.")
]


@contextmanager
def messages() -> Iterator[Console]:
    """A console on standard error; the user's mistakes as one message and exit code 2."""
    console = plain_console()
    try:
        yield console
    except RecipeError as error:
        say(console, ("error", "bold red"), f" {error}")
        raise typer.Exit(WRONG_INPUT) from None
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        say(console, ("error", "bold red"), f" this command needs PyTorch: {NEEDS_TORCH}")
        raise typer.Exit(WRONG_INPUT) from None
    except KeyboardInterrupt:
        say(console, "stopped")
        raise typer.Exit(STOPPED) from None
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(1) from None
