"""The command that takes a model elsewhere. It imports what it needs when it runs."""

from pathlib import Path
from typing import Annotated

import typer

from trivium.cli.options import RunPath, messages
from trivium.run.screen.console import say

To = Annotated[
    str,
    typer.Option(
        help="onnx or openvino: one graph, an output per task. transformers or "
        "sentence-transformers: a folder per task.",
    ),
]
MaxLoss = Annotated[
    float | None,
    typer.Option(
        help="What int8 or bf16 may cost any task of its main score on dev. [default: 0.01]",
        show_default=False,
    ),
]


def export(
    run: RunPath,
    out: Annotated[Path, typer.Option(help="The folder to be made.")],
    to: To = "onnx",
    int8: Annotated[
        bool, typer.Option("--int8", help="Weights in 8 bits; what that costs is measured on dev.")
    ] = False,
    precision: Annotated[
        str, typer.Option(help="fp32 or int8; for openvino also bf16, where the CPU has it.")
    ] = "fp32",
    max_loss: MaxLoss = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier export in that folder.")
    ] = False,
    push: Annotated[
        str | None, typer.Option(metavar="NAME", help="Then put it on the hub as user/name.")
    ] = None,
) -> None:
    """Take a model elsewhere: ONNX Runtime, OpenVINO, transformers, sentence-transformers.

    A graph is compared with the model, on dev and on batches of every shape,
    and refused where it says something else. Needs trivium\\[export] for graphs.

    Example: trivium export runs/three --to onnx --out three-onnx
    """
    with messages() as console:
        from trivium.errors import RecipeError
        from trivium.run.export import export as export_run

        if int8 and precision not in ("fp32", "int8"):
            raise RecipeError(f"export: --int8 and --precision {precision}: choose one of them.")
        export_run(
            run,
            out,
            to=to,
            precision="int8" if int8 else precision,
            max_loss=max_loss,
            overwrite=overwrite,
            console=console,
        )
        say(console, f"written: {out}")
        if push is not None:
            from trivium.run.push import push as push_folder

            pushed = push_folder(out, push, overwrite=overwrite, console=console)
            say(console, f"pushed: {pushed.url}")
