"""`trivium init`: from files to a recipe. It imports its verb when it runs; see `trivium.cli`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from trivium.cli.options import PresetName, messages


def init(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE", help="Tables of labelled text; train, dev and test go by their names."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The recipe.")] = Path("recipe.yaml"),
    text: Annotated[
        str | None, typer.Option(help="Column of the text; two of a pair, as in [bold]a,b[/].")
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="Column of the answers, or several: a task each.")
    ] = None,
    encoder: Annotated[
        str, typer.Option(help="minilm (packaged), a folder, or a name on the hub.")
    ] = "minilm",
    preset: PresetName = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing; assume, and say so.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace OUT if it is there already.")
    ] = False,
) -> None:
    """Draft a recipe for tables: which columns are texts and answers, and what is odd in them.

    Example: trivium init reviews-train.csv tickets.csv --out recipe.yaml
    """
    with messages() as console:
        from trivium.run.init import init as draft

        is_alone = yes or sys.stdin is None or not sys.stdin.isatty()
        draft(
            files,
            out,
            text=_columns(text),
            label=_columns(label),
            encoder=encoder,
            preset=preset,
            overwrite=overwrite,
            ask=None if is_alone else ask,
            console=console,
        )


def ask(question: str, allowed: Sequence[str], chosen: Sequence[str]) -> list[str]:
    """Names of columns by their numbers; Enter takes what is chosen already."""
    numbers = {str(number): name for number, name in enumerate(allowed, 1)}
    typer.echo(question, err=True)
    for number, name in numbers.items():
        typer.echo(f"  {number}: {name!r}" + (" *" if name in chosen else ""), err=True)
    while True:
        said = typer.prompt("numbers, or Enter for *", default="", show_default=False, err=True)
        words = said.replace(",", " ").split()
        if all(word in numbers for word in words):
            return list(dict.fromkeys(numbers[word] for word in words)) or list(chosen)
        typer.echo(f"Of 1 to {len(numbers)}, as in: 1 2", err=True)


def _columns(said: str | None) -> list[str]:
    return [name.strip() for name in (said or "").split(",") if name.strip()]
