"""The command that finds how answers are decided upon; see `trivium.cli`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from trivium.cli.options import Device, Precision, RunPath, answer, messages

Goal = Annotated[
    str | None,
    typer.Option(
        "--for",
        metavar="GOAL",
        help="What thresholds are for: accuracy, f1, macro_f1, micro_f1, [bold]precision=0.9[/], "
        "[bold]recall=0.9[/], or none; by default the task's main metric, where thresholds gain "
        "on rows that they were not found on.",
    ),
]
Costs = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="What wrong answers cost, instead of --for: a table (.csv, .json) of true labels "
        "(down) and answers (across); of several labels a row has columns [bold]missed[/] and "
        "[bold]false_alarm[/]. For an ordinal task also distance, or squared.",
    ),
]
AnswerWhere = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="Answer only where that share of the answers is right, such as 0.95; other rows get "
        "an empty answer.",
    ),
]
SharesFrom = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="A table without labels, among whose rows labels have other shares: these are "
        "estimated (Saerens et al. 2002), and counted with.",
    ),
]


def calibrate(
    run: RunPath,
    task: Annotated[str | None, typer.Option(help="Only this task.")] = None,
    on: Annotated[
        str, typer.Option(metavar="FILE", help="dev, or a table of other labelled rows.")
    ] = "dev",
    goal: Goal = None,
    label: Annotated[
        str | None, typer.Option(help="Whose precision or recall, of three labels or more.")
    ] = None,
    costs: Costs = None,
    answer_where: AnswerWhere = None,
    shares_from: SharesFrom = None,
    undo: Annotated[
        bool, typer.Option("--undo", help="Answer as trained again, all tasks or one.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change, and write nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    precision: Precision = "auto",
    device: Device = "auto",
) -> None:
    """Decide better upon answers: probabilities that can be believed, thresholds, and when not to
    answer.

    Found on dev, written into the model's folder, and used by predict,
    evaluate, serve, and exports made afterwards. The table shows scores
    before and after on the same rows, which flatters, and cross-fitted:
    each fifth of the rows decided upon by what was found on the others.

    Examples: trivium calibrate runs/first --answer-where 0.95;
    trivium calibrate runs/first --task urgency --for recall=0.9 --label high
    """
    with messages() as console:
        from trivium.run.calibrate import calibrate as calibrate_run

        figures = calibrate_run(
            Path(run), task=task, on=on, goal=goal, label=label, costs=costs,
            answer_where=answer_where, shares_from=shares_from, undo=undo, dry_run=dry_run,
            precision=precision, device=device, console=console,
        )  # fmt: skip
        if as_json:
            answer(json.dumps(figures, indent=2, ensure_ascii=False))
