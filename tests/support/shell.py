"""The command line, called in this process."""

from io import StringIO
from pathlib import Path

from rich.console import Console
from typer.testing import CliRunner

from trivium.cli import app


def call(*arguments: str | Path) -> tuple[int, str]:
    """Exit code, and all that was printed with its line breaks undone."""
    environment = {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    result = CliRunner().invoke(app, [str(a) for a in arguments], env=environment)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.output.split())


def spoken() -> tuple[Console, StringIO]:
    """A console, and what it will have said."""
    said = StringIO()
    return Console(file=said, width=200), said
