"""`trivium evaluate`: a run scored on its own dev files, or one task on another file."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from trivium.errors import RecipeError, refuse_no_path
from trivium.run.folder.given import Tables, by_task
from trivium.run.folder.lent import rows_of
from trivium.run.folder.names import RECIPE
from trivium.run.folder.provenance import other_rows
from trivium.run.folder.scores import Scores
from trivium.run.folder.start import run_recipe
from trivium.run.predictor.model import ModelPredictor
from trivium.run.predictor.scoring import evaluate_splits, overall, rows_in
from trivium.run.predictor.trained import load_trained
from trivium.run.rows.load import load_data, read_split
from trivium.run.rows.refusals import GIVEN, unused_rows
from trivium.run.rows.splits import JUDGED, Data
from trivium.run.screen.console import heard_on, note
from trivium.run.screen.progress import rows_bar


def evaluate(
    run: str | Path,
    *,
    task: str | None = None,
    file: str | Path | None = None,
    split: str | None = None,
    tables: Tables | None = None,
    precision: str = "auto",
    device: str = "auto",
    console: Console | None = None,
) -> dict[str, Any]:
    """Scores of a run on its own dev (and labelled test) files, or of one task on `file`.

    split: dev or test, by default both. tables: by task a table of labelled rows that Python holds,
    whose scores are called `table`, or {"dev": ..., "test": ...}, as `train` takes them. Answers
    with the `tasks`, `overall` and `precision` of `scores.json`, as a plain dict. Raises
    RecipeError.

        scores = trivium.evaluate("runs/first")
        scores["overall"]["dev"]["leaderboard"]
    """
    predictor = load_trained(run, precision=precision, device=device)
    _refuse_misfit(predictor, task, file, split, tables)
    splits: tuple[str, ...] = (split,) if split else JUDGED
    if tables is not None:
        by_task(tables)
        data = rows_of(tables, {name: predictor.task(name) for name in tables})
        splits = tuple(dict.fromkeys(name for of_task in data.values() for name in of_task))
    elif file is not None and task is not None:
        rows = read_split(predictor.task(task), GIVEN, file)
        if not rows.examples:
            raise RecipeError(f"{rows.where}: has no labelled rows for task {task!r}.")
        data, splits = {task: {GIVEN: rows}}, (GIVEN,)
    else:
        data = _own_data(Path(run), predictor, task, splits)
        for line in other_rows(Path(run), data):
            note(heard_on(console), line)
    for line in unused_rows(data):
        note(heard_on(console), line)
    with rows_bar(console) as bar:
        counter = bar.add_task("evaluating", total=rows_in(data, splits))
        scores = evaluate_splits(predictor, data, splits, partial(bar.advance, counter))
    means = overall(predictor.tasks, scores) if task is None and scores else {}
    result = Scores(tasks=scores, overall=means, precision=predictor.precision)
    return result.as_dict()


def _refuse_misfit(
    predictor: ModelPredictor,
    task: str | None,
    file: str | Path | None,
    split: str | None,
    tables: Tables | None,
) -> None:
    """Raises RecipeError for what does not go together."""
    if file is not None and task is None:
        raise RecipeError("evaluate: say which task the file is for (--task).")
    if file is not None:
        refuse_no_path(file, "--file")
    if split is not None and (split not in JUDGED or file is not None):
        raise RecipeError("evaluate: --split is dev or test, and goes without --file.")
    if tables is not None and (task, file, split) != (None, None, None):
        raise RecipeError(
            "evaluate: `tables` says which tasks; it goes without task, file and split."
        )
    if tables is not None and not tables:
        raise RecipeError(
            f"evaluate: `tables` names no task; give a table for any of {list(predictor.tasks)}."
        )


def _own_data(
    run: Path, predictor: ModelPredictor, task: str | None, splits: Sequence[str]
) -> Data:
    """The dev and labelled test rows that a run's recipe names, of all its tasks or of one."""
    if not (run / RECIPE).is_file():
        raise RecipeError(
            f"{run}: has no recipe that says where dev rows are; name --task and --file."
        )
    chosen = [predictor.task(task).name] if task is not None else list(predictor.tasks)
    recipe = run_recipe(run)
    # Masked words are judged by the texts of other tasks.
    others = [n for name in chosen if name in recipe.tasks for n in recipe.tasks[name].lenders]
    tasks = {name: recipe.tasks[name] for name in (*chosen, *others) if name in recipe.tasks}
    if task is not None and not tasks:
        raise RecipeError(f"{run}: its recipe names no files of task {task!r}; name a --file.")
    _, data = load_data(recipe.model_copy(update={"tasks": tasks}), splits)
    own = {name: data.get(name, {}) for name in chosen}
    if not any(own.values()):
        of = f" for task {task!r}" if task is not None else ""
        raise RecipeError(
            f"{run}: its recipe names no labelled {' or '.join(splits)} rows{of}. Name a file of "
            "them: --task and --file."
        )
    return own
