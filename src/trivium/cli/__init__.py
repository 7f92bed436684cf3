"""`trivium check`, `train`, `evaluate` and so on: the verbs, at a shell.

Commands import their verb when they run, so that `--help` needs no torch.
"""

import atexit
import gc
import os
import signal
import sys
import threading
import time
from typing import Annotated

import typer

from trivium import __version__
from trivium.cli import (
    deciding,
    drafting,
    exporting,
    hub,
    judging,
    looking,
    predicting,
    serving,
    several,
    single,
)
from trivium.cli.options import FAILED, STOPPED
from trivium.errors import system_said
from trivium.interrupts import end_while_loading
from trivium.run.screen.console import plain_console, say, silence

app = typer.Typer(
    name="trivium",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Several tables of labelled text into one small BERT encoder that serves them all.",
    epilog="Start with: [bold]trivium train recipes/quickstart.yaml --out runs/first[/]",
)

for command in (
    drafting.init,
    single.check,
    single.train,
    single.evaluate,
    predicting.predict,
    several.ensemble,
    several.soup,
    single.lora,
    exporting.export,
    several.study,
    several.tune,
    judging.report,
    judging.compare,
    hub.push,
    hub.pull,
    serving.serve,
    looking.embed,
    looking.explain,
    deciding.calibrate,
    looking.affinity,
):
    app.command()(command)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"trivium {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say and stop.")
    ] = False,
) -> None:
    pass


def main() -> None:
    end_while_loading()
    atexit.register(gc.freeze)  # else Python looks through all that was loaded before it ends
    _keep_standard_numbers()
    # Threads that wait for one another burn their cores by default; beside any other program that
    # makes training many times slower. Read when torch is loaded, so set before.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        _end_with_parent()
        try:
            app()
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except OSError as error:  # of help, say, for which nobody listens, or whose file has no room
        silence(sys.stdout)
        if not isinstance(error, BrokenPipeError):
            say(plain_console(), ("error", "bold red"), f" standard output: {system_said(error)}.")
        sys.exit(FAILED)
    except KeyboardInterrupt:  # where no command has begun
        say(plain_console(), "stopped")
        sys.exit(STOPPED)


def _end_with_parent() -> None:
    """A study sets TRIVIUM_PARENT for its runs. Raises KeyboardInterrupt where it is gone."""
    if not (told := os.environ.pop("TRIVIUM_PARENT", None)):
        return
    # Started in the background, it would ignore the signal by which it is to stop.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    end_while_loading()
    if os.getppid() != int(told):  # while this one was loaded
        raise KeyboardInterrupt
    threading.Thread(target=_stop_without, args=(int(told),), daemon=True).start()


def _keep_standard_numbers() -> None:
    """Where a shell closed standard input, output or errors (`>&-`), the next file that is opened,
    a model's perhaps, would take its number, and what libraries print would be written into it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def _stop_without(parent: int) -> None:
    """Ctrl-C for this process once its parent is gone, so that nothing trains on unseen."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGINT)
