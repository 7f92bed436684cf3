"""Training: stages of steps, from a recipe to a run directory."""

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from trivium.errors import Interrupted
from trivium.recipe import AnyRecipe, Recipe, load_recipe
from trivium.recipe.budget import FULL
from trivium.run.assembly.device import choose_device, choose_precision
from trivium.run.assembly.machine import keep_memory
from trivium.run.assembly.model import build
from trivium.run.card.written import write_card
from trivium.run.folder.atomic import recover, refusals_told
from trivium.run.folder.environment import Environment, read_environment
from trivium.run.folder.finished import FinishedRun
from trivium.run.folder.given import Held, Tables, hold
from trivium.run.folder.journal import Journal
from trivium.run.folder.locks import alone
from trivium.run.folder.names import MODEL, RECIPE, SCORES
from trivium.run.folder.provenance import write_provenance
from trivium.run.folder.resume import remove_resume, saved_state
from trivium.run.folder.scores import Scores, read_scores, write_scores
from trivium.run.folder.start import check_same_recipe, refuse_unusable, start_run
from trivium.run.predictor.torch import TorchPredictor
from trivium.run.rows.encoded import encode_all
from trivium.run.rows.load import load_data
from trivium.run.rows.splits import Data, data_digest
from trivium.run.screen.console import heard_on, plain_console, say
from trivium.run.teachers.find import find_lessons
from trivium.run.teachers.kept import refuse_changed
from trivium.run.teachers.lessons import Lessons, refuse_itself
from trivium.run.training.ask_teachers import teach
from trivium.run.training.distributed import Processes, join, leave
from trivium.run.training.explain import print_preview
from trivium.run.training.finish import finish
from trivium.run.training.loop import run_stages
from trivium.run.training.parameters import start_from_counts
from trivium.run.training.preview import Preview
from trivium.run.training.work import Setup, Work


def train(
    recipe: AnyRecipe,
    run_dir: str | Path,
    *,
    tables: Tables | None = None,
    budget: str = FULL,
    changes: Sequence[str] = (),
    resume: bool = False,
    overwrite: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:
    """Train a recipe into a run directory; the content of its `scores.json`, a plain dict.

    recipe: its file, or the recipe itself: see `AnyRecipe`. tables: by task a table of its training
    rows, or {"train": ..., "dev": ..., "test": ...}, in place of its files: DataFrames of any
    library, a `datasets.Dataset`, lists of dictionaries, dictionaries of columns; they are written
    into the run's folder. budget: one of the recipe's. changes:
    `dotted.path=value`, after the budget. resume: go on from the last checkpoint, bit for bit as if
    never stopped. overwrite: replace an earlier run. Raises RecipeError before any work where
    something is wrong, and Interrupted after a first Ctrl-C, once the state is saved.

        scores = trivium.train("recipes/quickstart.yaml", "runs/short", changes=["seed=1"])
        scores["tasks"]["topic"]["dev"]["accuracy"]
    """
    held = hold(recipe, tables, Path(run_dir))
    with held.told():
        loaded = held.placed(load_recipe(held.recipe, changes, budget))
    processes, device = join(choose_device(loaded.device))
    try:
        writing = alone(Path(run_dir)) if processes.first else nullcontext()
        with writing, _console_of(processes, console) as speaker:
            order = _Order(Path(run_dir), held, processes, device, speaker, resume, overwrite)
            before = _number_of(order.run_dir / RECIPE)
            with refusals_told(order.run_dir, lambda: _what_is_left(order, before)), held.told():
                return _train(loaded, order).as_dict()
    finally:
        leave()


@dataclass(frozen=True, slots=True)
class _Order:
    """Where a recipe is to be trained, by whom, and what may become of what is there."""

    run_dir: Path
    held: Held
    processes: Processes
    device: torch.device
    console: Console
    resume: bool
    overwrite: bool


def _train(recipe: Recipe, order: _Order) -> Scores:
    _open(order)
    with order.held.kept(order.run_dir, writes=order.processes.first):
        order.processes.wait()
        return _train_on(recipe, order)


def _train_on(recipe: Recipe, order: _Order) -> Scores:
    processes, run_dir = order.processes, order.run_dir
    recipe, data = load_data(recipe)
    if order.resume:
        check_same_recipe(run_dir, recipe)
        if (run_dir / SCORES).is_file():
            say(order.console, f"{run_dir}: this run is finished; nothing to resume.")
            return read_scores(run_dir)
    lessons = _find_lessons(recipe, data, order)
    work = _prepare(recipe, data, lessons, order)
    try:
        with _stop_on_signal() as stopping:
            if (taught := teach(work, lessons, stopping)) is None:
                raise Interrupted("stopped while teachers were asked; finished answers are kept.")
            work = replace(work, taught=taught)
            counters = run_stages(work, resume=order.resume, stopping=stopping)
    finally:
        work.journal.close()
    if processes.first:
        scores = finish(work, counters)
        made = read_environment(run_dir) or Environment()
        write_card(FinishedRun(run_dir, recipe, scores, made))
        write_scores(run_dir, scores)  # last: a run that has them is finished
        remove_resume(run_dir)
    processes.wait()
    return read_scores(run_dir)


# --- before the first step ---------------------------------------------------------------------


def _open(order: _Order) -> None:
    """Refuse a folder that must not be written to, before any work."""
    if order.processes.first:
        refuse_unusable(order.run_dir, resume=order.resume, overwrite=order.overwrite)
        if order.resume:
            recover(order.run_dir / MODEL)
    # The others read in the folder what the first one may have had to recover.
    order.processes.wait()
    keep_memory()


def _find_lessons(recipe: Recipe, data: Data, order: _Order) -> Lessons:
    """What the recipe's teachers will be asked, as far as this run may ask them."""
    lessons = find_lessons(recipe, data)
    refuse_itself(lessons, order.run_dir)
    if order.resume:
        refuse_changed(lessons, order.run_dir)
    return lessons


def _prepare(recipe: Recipe, data: Data, lessons: Lessons, order: _Order) -> Work:
    """The model and its rows, shown on the screen, and the folder with the recipe in it."""
    processes, device = order.processes, order.device
    model, tokenizer = build(recipe)
    encoded = encode_all(recipe, data, tokenizer, model.encoder.config.max_position_embeddings)
    start_from_counts(model, encoded)
    print_preview(Preview(recipe, data, encoded, model, lessons), order.console)
    model.encoder.precision = choose_precision(recipe.precision, device)
    predictor = TorchPredictor(model.to(device), recipe.tasks, tokenizer)
    if processes.first and not order.resume:
        start_run(order.run_dir, recipe, overwrite=order.overwrite)
        write_provenance(order.run_dir, recipe, data)
    processes.wait()
    if processes.rank:
        # Dropout of its own: the same masks on other rows would make less noise than one process.
        torch.manual_seed(recipe.seed + 7919 * processes.rank)
    return Work(
        setup=Setup(recipe, encoded, model, device, processes),
        run_dir=order.run_dir,
        data=data,
        digest=lessons.digest(data_digest(data)),
        predictor=predictor,
        journal=Journal(order.run_dir if processes.first else None),
        console=order.console,
    )


def _number_of(file: Path) -> int | None:
    """Tells a file from the one that takes its place."""
    return file.stat().st_ino if file.is_file() else None


def _what_is_left(order: _Order, before: int | None) -> str:
    """After the disk failed: what was kept, and how to go on. before: of the recipe that was there
    at the start."""
    now = _number_of(order.run_dir / RECIPE)
    if now is None:
        return "Nothing was kept: start again once there is room."
    if order.overwrite and now == before:
        return "Nothing was kept of the new run: start again, with --overwrite, once there is room."
    saved = saved_state(order.run_dir)
    if saved is None:
        return (
            "No step was saved; once there is room, or the disk is sound, --resume begins with the "
            "first."
        )
    counters = saved["counters"]
    return (
        f"Kept: the state after step {counters['step']} of stage {counters['stage'] + 1}; once "
        "there is room, or the disk is sound, --resume goes on from there."
    )


@contextmanager
def _console_of(processes: Processes, console: Console | None) -> Iterator[Console]:
    """The first process speaks; the others would only repeat it."""
    if processes.first:
        yield heard_on(console)
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        yield plain_console(nowhere)


@contextmanager
def _stop_on_signal() -> Iterator[threading.Event]:
    """Set by the first Ctrl-C or SIGTERM, so that a step is finished and saved; a second stops."""
    stopping = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return

    def ask(_number: int, _frame: Any) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        stopping.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
