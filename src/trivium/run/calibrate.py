"""`trivium calibrate`: how a finished run's answers are decided upon, found on rows with labels."""

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from trivium.answering.decide import Decide
from trivium.errors import RecipeError, refuse_no_path
from trivium.parts.tasks import Labelled
from trivium.run.card.written import renew_card
from trivium.run.deciding.asked import Asked
from trivium.run.deciding.judged import judge, judge_unless_worse
from trivium.run.deciding.moved import moved
from trivium.run.deciding.rows import (
    DEV,
    labelled_rows,
    shared_rows,
    unlabelled_rows,
    with_dev,
)
from trivium.run.deciding.told import print_figures
from trivium.run.folder.decisions import (
    Figures,
    decisions_in,
    read_figures,
    write_decisions,
    write_figures,
)
from trivium.run.folder.finished import read_run, refuse_unfinished
from trivium.run.folder.locks import alone
from trivium.run.folder.model import find_model
from trivium.run.folder.names import CARD, ENSEMBLE, MODEL, RECIPE
from trivium.run.folder.provenance import other_rows
from trivium.run.predictor.model import ModelPredictor
from trivium.run.predictor.scoring import readouts_of, rows_in
from trivium.run.predictor.trained import load_single
from trivium.run.rows.refusals import unused_rows
from trivium.run.screen.console import heard_on, note, say
from trivium.run.screen.progress import rows_bar

NOTHING_WRITTEN = "nothing was written (--dry-run)"


def calibrate(
    run: str | Path,
    *,
    task: str | None = None,
    on: str | Path = DEV,
    goal: str | None = None,
    label: str | None = None,
    costs: str | Path | Mapping[str, Any] | None = None,
    answer_where: float | None = None,
    shares_from: str | Path | None = None,
    undo: bool = False,
    dry_run: bool = False,
    precision: str = "auto",
    device: str = "auto",
    console: Console | None = None,
) -> dict[str, Any]:
    """Find how a run's answers are best decided upon, and write it into its model's folder.

    Of every task with labels, or one: a temperature, a threshold or weight by label, and on demand
    costs, a level below which rows are not answered, and another share of labels. task: its name;
    on: dev, or a table of other labelled rows. goal: what thresholds are for: accuracy, f1,
    macro_f1, micro_f1, precision=0.9, recall=0.9, or none; by default the task's main metric, but
    only if that is better on rows that they were not found on. label: whose precision or recall.
    costs: a table of costs, instead of a goal. answer_where: the share of given answers that shall
    be right. shares_from: a table whose labels, unknown, have other shares. undo: take out what was
    written. dry_run: write nothing. Answers with the figures by task. Raises RecipeError.

        trivium.calibrate("runs/first", goal="accuracy")["topic"]["crossfitted"]["scores"]
    """
    refuse_no_path(on, "--on")
    run, console = _whole_run(Path(run)), heard_on(console)
    model = _single_model(run)
    asked = Asked(goal, label, costs, answer_where, shares_from)
    with alone(run):
        if undo:
            asked.refuse_beside_undo(on)
            return _undone(run, model, task, console, dry_run=dry_run)
        known = read_figures(run)  # before anything is written: it may be damaged
        predictor = load_single(run, precision=precision, device=device, as_trained=True)
        tasks = _tasks(run, predictor, task, on, asked)
        found = _found(predictor, tasks, run, on, asked, console=console)
        if not dry_run:
            write_decisions(model, {name: decide for name, (decide, _) in found.items()})
            if (run / RECIPE).is_file():
                write_figures(run, known | {n: of for n, (_, of) in found.items()})
            _tell_card(run, model, console)
    print_figures({name: of for name, (_, of) in found.items()}, console)
    say(console, NOTHING_WRITTEN if dry_run else f"calibrated: {model}")
    return {name: of.as_dict() for name, (_, of) in found.items()}


def _single_model(run: Path) -> Path:
    if (run / ENSEMBLE).is_file():
        raise RecipeError(
            f"{run}: is an ensemble, which answers by the mean of its members; only single models "
            "are calibrated. Make one of it (distillation), or name a run."
        )
    model = find_model(run)
    refuse_unfinished(run)
    return model


def _whole_run(run: Path) -> Path:
    """The run's folder, where that of its model is named."""
    home = Path(os.path.abspath(run)).parent
    return home if run.name == MODEL and (home / RECIPE).is_file() else run


def _tasks(
    run: Path, predictor: ModelPredictor, name: str | None, on: str | Path, asked: Asked
) -> list[Labelled]:
    """The tasks that are calibrated. Raises RecipeError."""
    every = [task for task in predictor.tasks.values() if isinstance(task, Labelled)]
    if name is not None:
        task = predictor.question(name)
        if not isinstance(task, Labelled):
            raise RecipeError(f"task {name!r} answers with a score, and has nothing to decide.")
        return [task]
    if not every:
        raise RecipeError(f"{run}: none of its tasks answers with labels: nothing to decide.")
    option = "--on FILE" if str(on) != DEV else asked.needs_one_task
    if option and len(every) > 1:
        names = ", ".join(task.name for task in every)
        raise RecipeError(f"{option}: is about one task; name it by --task: {names}.")
    return (with_dev(run, every) or every) if str(on) == DEV else every


def _found(
    predictor: ModelPredictor,
    tasks: list[Labelled],
    run: Path,
    on: str | Path,
    asked: Asked,
    *,
    console: Console,
) -> dict[str, tuple[Decide, Figures]]:
    wanted = {task.name: asked.of(task) for task in tasks}
    data, split = labelled_rows(run, tasks, on)
    given = [] if split == DEV else shared_rows(run, tasks[0].name, data[tasks[0].name][split])
    for line in [*other_rows(run, data), *given, *unused_rows(data)]:
        note(console, line)
    elsewhere = [] if asked.shares_from is None else unlabelled_rows(tasks[0], asked.shares_from)
    with rows_bar(console) as bar:
        total = rows_in(data, [split]) + len(elsewhere)
        on_progress = partial(bar.advance, bar.add_task("answering", total=total))
        readouts = readouts_of(predictor, data, [split], on_progress)
        found = {}
        for task in tasks:
            rows, name = data[task.name][split], task.name
            how = judge_unless_worse if asked.leaves_open else judge
            best, figures = how(task, readouts[name, split], rows, wanted[name], str(on))
            if best.unreached:
                raise RecipeError(
                    f"task {name!r}: {best.unreached[0]}, on {len(rows.examples):,} rows of {on}. "
                    "Ask for less, give more rows, or name another --task. Nothing was written."
                )
            found[name] = (best.decide, figures)
            if elsewhere:
                said_BK = predictor.readout(name, elsewhere)
                where = str(asked.shares_from)
                found[name] = moved(task, rows, said_BK, found[name], where)
                on_progress(len(elsewhere))
    return found


def _undone(
    run: Path, model: Path, task: str | None, console: Console, *, dry_run: bool
) -> dict[str, Any]:
    """Take out what was written, of all tasks or of one."""
    there = decisions_in(model)
    names = list(there) if task is None else [task]
    if missing := [name for name in names if name not in there]:
        raise RecipeError(f"--undo: task {missing[0]!r} is not calibrated.")
    if not names:
        raise RecipeError(f"--undo: {model} is not calibrated.")
    # Where no task is left there is nothing to keep, whether or not the file can be read.
    known = read_figures(run) if len(names) < len(there) else {}
    if not dry_run:
        write_decisions(model, dict.fromkeys(names))
        write_figures(run, {name: of for name, of in known.items() if name not in names})
        _tell_card(run, model, console)
    say(console, f"as it was trained: {', '.join(names)}")
    if dry_run:
        say(console, NOTHING_WRITTEN)
    return {}


def _tell_card(run: Path, model: Path, console: Console) -> None:
    """The model's card, where there is one, tells how answers are decided upon now."""
    if not (model / CARD).is_file():
        return
    if (run / RECIPE).is_file() and (run / MODEL).is_dir():
        try:
            if renew_card(read_run(run)):
                return
            why = "was changed by hand, and is left alone"
        except RecipeError as error:
            why = f"cannot be renewed: {error}"
    else:
        why = "is of a model's folder, and only a whole run's tells what it would say"
    note(console, f"{model / CARD} tells nothing of it: it {why}.")
