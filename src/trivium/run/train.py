"""Training: stages of steps, from a recipe to a run directory."""

import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from trivium.errors import Interrupted, RecipeError
from trivium.recipe import AnyRecipe, Recipe, load_recipe
from trivium.recipe.budget import FULL
from trivium.run.assembly.device import choose_device, choose_precision
from trivium.run.assembly.machine import keep_memory
from trivium.run.assembly.model import build
from trivium.run.baselines.find import BeforeTraining, find_baselines
from trivium.run.baselines.start import start_heads
from trivium.run.baselines.told import print_baselines
from trivium.run.card.written import write_card
from trivium.run.folder.atomic import recover, refusals_told
from trivium.run.folder.below import start_notes
from trivium.run.folder.environment import Environment, elsewhere, read_environment
from trivium.run.folder.finished import FinishedRun
from trivium.run.folder.given import Held, Tables, hold
from trivium.run.folder.journal import Journal
from trivium.run.folder.left import earlier_recipes, what_is_left
from trivium.run.folder.locks import alone
from trivium.run.folder.names import MODEL, SCORES
from trivium.run.folder.provenance import refuse_other_start, write_provenance
from trivium.run.folder.replaced import let_go, old_run_back, settle
from trivium.run.folder.resume import remove_resume
from trivium.run.folder.scores import Scores, read_scores, write_scores
from trivium.run.folder.start import check_same_recipe, refuse_unusable, run_recipe, start_run
from trivium.run.folder.started import begin
from trivium.run.predictor.torch import TorchPredictor
from trivium.run.rows.encoded import encode_all
from trivium.run.rows.load import load_data
from trivium.run.rows.splits import Data, data_digest
from trivium.run.screen.console import heard_on, plain_console, say, warn
from trivium.run.teachers.find import find_lessons
from trivium.run.teachers.kept import refuse_changed
from trivium.run.teachers.lessons import Lessons, refuse_itself
from trivium.run.training.ask_teachers import teach
from trivium.run.training.distributed import Processes, join, leave, others_lost
from trivium.run.training.explain import print_preview
from trivium.run.training.finish import finish
from trivium.run.training.in_time import TEACHERS_TAKE_TIME, in_time
from trivium.run.training.launch import Beginning, Resume, beginning, refuse_unlike
from trivium.run.training.loop import run_stages
from trivium.run.training.minutes import as_begun
from trivium.run.training.parameters import start_from_counts
from trivium.run.training.preview import Preview
from trivium.run.training.start import start_of
from trivium.run.training.state import Counters
from trivium.run.training.stopping import stop_on_signal
from trivium.run.training.work import Setup, Work


def train(
    recipe: AnyRecipe,
    run_dir: str | Path,
    *,
    tables: Tables | None = None,
    budget: str = FULL,
    changes: Sequence[str] = (),
    only: Sequence[str] = (),
    preset: str | None = None,
    minutes: float | None = None,
    resume: Resume = False,
    overwrite: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:
    """Train one run of a recipe; the content of its `scores.json`. What can be said is explained
    with `trivium.train` (`trivium.apps.presets`), which is this, but for the preset `best`."""
    began = time.monotonic()
    if minutes is not None and not 0 < minutes < math.inf:
        raise RecipeError(f"--minutes {minutes}: give a number above 0.")
    held = hold(recipe, tables, Path(run_dir))
    with held.told():
        loaded = held.placed(load_recipe(held.recipe, changes, budget, only, preset))
    processes, device = join(choose_device(loaded.device))
    try:
        writing = alone(Path(run_dir)) if processes.first else nullcontext()
        with others_lost(processes), writing, _console_of(processes, console) as speaker:
            until = began + 60 * minutes if minutes is not None else None
            home = Path(run_dir)
            how = beginning(home, processes, resume=resume, overwrite=overwrite)
            order = _Order(home, held, processes, device, speaker, how, began, until)
            earlier = earlier_recipes(home)
            told = refusals_told(home, lambda: what_is_left(home, earlier, how.overwrite))
            back = old_run_back(home, processes.first and how.overwrite)
            with told, back, held.told():
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
    how: Beginning
    began: float
    """By `time.monotonic()`."""
    until: float | None = None
    """By `time.monotonic()`: when it is to have ended."""


def _train(recipe: Recipe, order: _Order) -> Scores:
    _open(order)
    with order.held.kept(order.run_dir, writes=order.processes.first):
        order.processes.wait()
        return _train_on(recipe, order)


def _train_on(recipe: Recipe, order: _Order) -> Scores:
    processes = order.processes
    recipe, data = load_data(recipe, console=order.console)
    if order.how.resume:
        recipe, scores = processes.asked_of_first(lambda: _as_it_began(recipe, order))
        if scores is not None:
            return scores
    lessons = _find_lessons(recipe, data, order)
    work = _prepare(recipe, data, lessons, order)
    try:
        with stop_on_signal() as stopping:
            if (taught := teach(work, lessons, stopping)) is None:
                raise Interrupted("stopped while teachers were asked; finished answers are kept.")
            work = replace(work, taught=taught)
            counters = run_stages(work, order.how, stopping)
    finally:
        work.journal.close()
    return processes.asked_of_first(lambda: _finished(recipe, work, counters, order))


def _finished(recipe: Recipe, work: Work, counters: Counters, order: _Order) -> Scores:
    """The kept model judged, and all of the run written that is to stay."""
    run_dir = order.run_dir
    scores = finish(work, counters)
    for line in start_notes(recipe, scores):
        warn(order.console, line)
    made = read_environment(run_dir) or Environment()
    write_card(FinishedRun(run_dir, recipe, scores, made))
    write_scores(run_dir, scores)  # last: a run that has them is finished
    let_go(run_dir)
    remove_resume(run_dir)
    return read_scores(run_dir)


# --- before the first step ---------------------------------------------------------------------


def _open(order: _Order) -> None:
    """Refuse a folder that must not be written to, before any work."""
    if order.processes.first:
        settle(order.run_dir)
        refuse_unusable(order.run_dir, resume=order.how.resume, overwrite=order.how.overwrite)
        if order.how.resume:
            recover(order.run_dir / MODEL)
    # The others read in the folder what the first one may have had to recover.
    order.processes.wait()
    keep_memory()


def _as_it_began(recipe: Recipe, order: _Order) -> tuple[Recipe, Scores | None]:
    """The recipe of a run that is resumed, and its scores if it is finished. Raises RecipeError
    where it began with another one."""
    if order.until is not None:  # how many steps there are was decided when it began
        recipe = as_begun(recipe, run_recipe(order.run_dir))
    check_same_recipe(order.run_dir, recipe)
    if not (order.run_dir / SCORES).is_file():
        if other := elsewhere(order.run_dir):
            warn(
                order.console,
                f"{order.run_dir}: began with {other}. The last digits may be others than without "
                "a stop.",
            )
        return recipe, None
    remove_resume(order.run_dir)  # which its end may not have come to
    say(order.console, f"{order.run_dir}: this run is finished; nothing to resume.")
    return recipe, read_scores(order.run_dir)


def _find_lessons(recipe: Recipe, data: Data, order: _Order) -> Lessons:
    """What the recipe's teachers will be asked, as far as this run may ask them."""
    lessons = find_lessons(recipe, data)
    refuse_itself(lessons, order.run_dir)
    if order.how.resume:
        refuse_changed(lessons, order.run_dir)
    return lessons


def _prepare(recipe: Recipe, data: Data, lessons: Lessons, order: _Order) -> Work:
    """The model and its rows, shown on the screen, and the folder with the recipe in it."""
    processes, device = order.processes, order.device
    model, tokenizer = build(recipe)
    limit = model.encoder.config.max_position_embeddings
    encoded = encode_all(recipe, data, tokenizer, limit, console=order.console)
    start_from_counts(model, encoded)
    started = begin(recipe, model, tokenizer)
    print_preview(Preview(recipe, data, encoded, model, lessons, started), order.console)
    model.encoder.precision = choose_precision(recipe.precision, device)
    predictor = TorchPredictor(model.to(device), recipe.tasks, tokenizer)
    setup = Setup(recipe, encoded, model, device, processes, start_of(recipe, model.encoder))
    digest = lessons.digest(data_digest(data))
    refuse_unlike(processes, recipe, digest)
    found = _find_baselines(recipe, data, predictor, order)
    start_heads(model, found.starts)
    processes.share_(list(model.state_dict().values()))
    if order.until is not None and not order.how.resume:
        if lessons.by_stage:
            raise RecipeError(TEACHERS_TAKE_TIME)
        recipe = in_time(setup, predictor, data, order.until, order.console)
        setup = replace(setup, recipe=recipe)
    if processes.first and not order.how.resume:
        start_run(order.run_dir, recipe, overwrite=order.how.overwrite)
        write_provenance(order.run_dir, recipe, data, started.point if started else None)
    if order.how.resume and started is not None:
        point = started.point
        processes.asked_of_first(lambda: refuse_other_start(order.run_dir, point))
    if processes.rank:
        # Dropout of its own: the same masks on other rows would make less noise than one process.
        torch.manual_seed(recipe.seed + 7919 * processes.rank)
    journal = Journal(order.run_dir if processes.first else None)
    return Work(
        setup, order.run_dir, data, digest, predictor, journal, order.console,
        baselines=found.baselines, fallbacks=found.fallbacks, began=order.began,
    )  # fmt: skip


def _find_baselines(
    recipe: Recipe, data: Data, predictor: TorchPredictor, order: _Order
) -> BeforeTraining:
    """What the tasks have before training, from the first process; shown on its screen."""
    found = BeforeTraining()
    if order.processes.first:
        found = find_baselines(recipe, data, predictor, wanted=recipe.probe)
        print_baselines(found, order.console)
    shared: BeforeTraining = order.processes.from_first(found)
    return shared


@contextmanager
def _console_of(processes: Processes, console: Console | None) -> Iterator[Console]:
    """The first process speaks; the others would only repeat it."""
    if processes.first:
        yield heard_on(console)
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        yield plain_console(nowhere)
