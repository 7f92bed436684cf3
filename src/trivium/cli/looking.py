"""Commands that look into a model: its vectors, and what made an answer. See `trivium.cli`."""

import json
from typing import Annotated

import typer

from trivium.cli.options import (
    Backend,
    Device,
    OverwriteFile,
    Precision,
    RunOrName,
    TableFile,
    answer,
    messages,
)
from trivium.run.screen.console import plain_console, say


def embed(
    run: RunOrName,
    file: TableFile,
    out: Annotated[str, typer.Option(help="File of vectors: .npy, .parquet or .jsonl.")],
    column: Annotated[
        str | None, typer.Option(help="Of the texts; by default the one the tasks read.")
    ] = None,
    normalize: Annotated[bool, typer.Option(help="Vectors of length 1.")] = True,
    overwrite: OverwriteFile = False,
    precision: Precision = "auto",
    device: Device = "auto",
    backend: Backend = "auto",
) -> None:
    """Write the encoder's vector of every row of a table; any size of file.

    Example: trivium embed runs/three --file in.csv --out vectors.npy
    """
    with messages() as console:
        from trivium.run.embed import embed_file

        rows = embed_file(
            run,
            file,
            out,
            column=column,
            normalize=normalize,
            overwrite=overwrite,
            precision=precision,
            device=device,
            backend=backend,
            console=console,
        )
        say(console, f"{rows:,} rows embedded: {out}")


def explain(
    run: RunOrName,
    task: Annotated[str, typer.Option(help="The question that is answered.")],
    text: Annotated[
        list[str], typer.Option("--text", help="The text; twice for the texts of a pair.")
    ],
    label: Annotated[
        str | None, typer.Option(help="Explain this label; by default the most probable one.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    precision: Precision = "auto",
    device: Device = "auto",
    backend: Backend = "auto",
) -> None:
    """Show what each word of a text did for its answer: what is lost where it is left out.

    Example: trivium explain runs/first --task topic --text "Where is my parcel?"
    """
    with messages():
        import sys
        from dataclasses import asdict

        from trivium.run.predictor.load import load
        from trivium.run.screen.shading import print_explanation

        model = load(run, precision=precision, device=device, backend=backend)
        found = model.explain(task, text[0] if len(text) == 1 else tuple(text), label)
        if as_json:
            answer(json.dumps(asdict(found), ensure_ascii=False, indent=2))
        else:
            print_explanation(found, plain_console(sys.stdout))
