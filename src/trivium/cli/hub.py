"""Commands that take models to the hub and back. They import their verb when they run; see
`trivium.cli`."""

from pathlib import Path
from typing import Annotated

import typer

from trivium.cli.options import RunPath, messages
from trivium.run.screen.console import say

HubName = Annotated[
    str, typer.Argument(metavar="NAME", help="The model's name on the hub: user/name.")
]


def push(
    run: RunPath,
    name: HubName,
    private: Annotated[
        bool, typer.Option("--private", help="Make a new repository that only you can read.")
    ] = False,
    revision: Annotated[
        str,
        typer.Option(
            "--revision", "--branch", metavar="BRANCH", help="Made where it is not there."
        ),
    ] = "main",
    message: Annotated[str, typer.Option(help="Of the commit.")] = "",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a card that was changed on the hub.")
    ] = False,
) -> None:
    """Put a run's model on the Hugging Face hub, with its card; no rows and no predictions.

    Log in before (hf auth login), or set HF_TOKEN; HF_ENDPOINT names another hub.

    Example: trivium push runs/first desk/support --private
    """
    with messages() as console:
        from trivium.run.push import push as push_run

        pushed = push_run(
            run,
            name,
            private=private,
            revision=revision,
            message=message,
            overwrite=overwrite,
            console=console,
        )
        say(console, f"pushed: {pushed.url}")
        say(console, f"commit: {pushed.commit}")


def pull(
    name: HubName,
    revision: Annotated[
        str | None, typer.Option(help="A branch, tag or commit; main by default.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="A folder of its own for the model; by default the hub's cache."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a model that is in that folder.")
    ] = False,
) -> None:
    """Fetch a model from the Hugging Face hub, and verify the sha256 of its files.

    Example: trivium pull desk/support --out support
    """
    with messages() as console:
        from trivium.run.pull import pull as pull_model

        pulled = pull_model(name, revision=revision, out=out, overwrite=overwrite)
        if pulled.is_from_cache:
            say(console, "note: the hub was not asked; this is what its cache here has.")
        for what, told in (
            ("model", pulled.folder),
            ("commit", pulled.commit),
            ("sha256", pulled.sha256),
        ):
            say(console, f"{what}: {told}")
