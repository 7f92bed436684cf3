"""Commands that look into a model: its vectors, what made an answer, and
what its tasks gain from one another. See `trivium.cli`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from trivium.cli.options import (
    Backend,
    BudgetName,
    Changes,
    Device,
    OverwriteFile,
    Precision,
    RunOrName,
    TableFile,
    answer,
    messages,
)
from trivium.run.screen.console import plain_console, say

RecipeOrRun = Annotated[
    Path,
    typer.Argument(
        metavar="RECIPE", help="A recipe's YAML file; or a run's folder, for its recipe."
    ),
]
AffinityFolder = Annotated[
    Path | None,
    typer.Option(help="Folder for affinity.json; of a run by default its own folder."),
]
TrainedSteps = Annotated[
    int | None, typer.Option(help="Of training; by default the recipe's, 400 at most.")
]
LookEvery = Annotated[int, typer.Option(help="Steps between two look-aheads.")]
LookLength = Annotated[
    float, typer.Option(help="Of a look-ahead, in the norm of all that tasks share.")
]
Encoders = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Suggest at most N encoders; by default as few as harm no task."
    ),
]


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
        from trivium.run.assembly.machine import keep_few_kernels
        from trivium.run.embed import embed_file

        keep_few_kernels()
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
        str | None, typer.Option(help="Explain this label; by default the one that is answered.")
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


def affinity(
    recipe: RecipeOrRun,
    out: AffinityFolder = None,
    steps: TrainedSteps = None,
    every: LookEvery = 10,
    length: LookLength = 0.02,
    encoders: Encoders = None,
    budget: BudgetName = "full",
    set_: Changes = None,
    overwrite: OverwriteFile = False,
) -> None:
    """Find out which tasks help one another, and which belong on one encoder.

    Trains all tasks together for a while. Now and then it tries a small step
    for each task alone, looks what that does to the loss of every task, and
    takes the step back (Fifty et al. 2021). One short run tells all pairs.

    In the table a row is the task that the step is for, a column the task that
    feels it: +1.5 says that its loss falls by 1.5 %. Below it stand the best
    groups of tasks for one encoder, two, ... Ctrl-C keeps what was measured.

    Suggested is the grouping with the fewest encoders in which no task is
    harmed, and how sure that is: whether either half of the look-aheads
    suggests the same. 40 look-aheads or more (--steps / --every) make fair
    intervals. What comes of it tells trivium compare --against-singles.

    A look-ahead costs T gradients and T x T losses of T tasks: with many tasks
    take a larger --every. The report of a run shows what was measured of it.

    Example: trivium affinity recipes/quickstart.yaml --out runs/affinity
    """
    with messages() as console:
        from trivium.run.affinity import affinity as measure

        measure(
            recipe,
            out,
            steps=steps,
            every=every,
            length=length,
            encoders=encoders,
            budget=budget,
            changes=set_ or (),
            overwrite=overwrite,
            console=console,
        )
