"""Training: stages of steps, from a recipe to a run directory."""

import json
import math
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from trivium.errors import RecipeError
from trivium.recipe import Recipe, Stage, load_recipe
from trivium.run import directory
from trivium.run.atomic import recover, write_text
from trivium.run.build import (
    build,
    choose_device,
    choose_precision,
    precision_name,
    start_from_counts,
)
from trivium.run.check import print_preview
from trivium.run.checkpoint import (
    KEPT_GENERATIONS,
    MODEL,
    load_resume,
    load_weights_into,
    remove_resume,
    save_resume,
)
from trivium.run.data import encode_all, load_data
from trivium.run.distributed import Processes, join, leave
from trivium.run.evaluate import evaluate_into, overall
from trivium.run.journal import Journal
from trivium.run.judge import judge, keep, set_floors
from trivium.run.load import load_single
from trivium.run.machine import keep_memory
from trivium.run.plan import Plan, plan_stage
from trivium.run.predict import TorchPredictor
from trivium.run.preview import Preview
from trivium.run.progress import Monitor
from trivium.run.state import Counters, TrainState, counters_of, pack_state, unpack_state
from trivium.run.step import Setup, start_stage, train_step
from trivium.run.teach import refuse_changed, teach
from trivium.run.teachers import find_lessons, refuse_itself
from trivium.run.work import Work

CHECKPOINT_EVERY_S = 120.0
"""What a crash can cost. Evaluations need no checkpoint of their own: they happen again, alike."""


class Interrupted(Exception):  # noqa: N818 an outcome, not an error
    """Training was asked to stop, and saved what resuming needs."""


def train(
    recipe: Recipe | str | Path,
    run_dir: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:
    """Train a recipe into a run directory; the content of its `scores.json`.

    resume: go on from the last checkpoint, bit for bit as if never stopped. overwrite: replace
    an earlier run. Raises RecipeError before any work where something is wrong, and Interrupted
    after a first Ctrl-C, once the state is saved.
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    recipe = recipe.of_run()
    run_dir = Path(run_dir)
    processes, device = join(choose_device(recipe.device))
    try:
        with _console_of(processes, console) as speaker:
            return _train(recipe, run_dir, processes, device, speaker, resume, overwrite)
    finally:
        leave()


def _train(
    recipe: Recipe,
    run_dir: Path,
    processes: Processes,
    device: torch.device,
    console: Console,
    resume: bool,
    overwrite: bool,
) -> dict[str, Any]:
    if processes.first:
        directory.refuse_unusable(run_dir, resume=resume, overwrite=overwrite)
        if resume:
            recover(run_dir / MODEL)
    processes.wait()
    keep_memory()
    recipe, data = load_data(recipe)
    if resume:
        directory.check_same_recipe(run_dir, recipe)
        if (run_dir / directory.SCORES).is_file():
            console.print(f"{run_dir}: this run is finished; nothing to resume.")
            return read_scores(run_dir)
    lessons = find_lessons(recipe, data)
    refuse_itself(lessons, run_dir)
    if resume:
        refuse_changed(lessons, run_dir)
    model, tokenizer = build(recipe)
    encoded = encode_all(recipe, data, tokenizer, model.encoder.config.max_position_embeddings)
    start_from_counts(model, encoded)
    print_preview(Preview(recipe, data, encoded, model, lessons), console)
    model.encoder.precision = choose_precision(recipe.precision, device)
    predictor = TorchPredictor(model.to(device), recipe.tasks, tokenizer)
    if processes.first and not resume:
        directory.start_run(run_dir, recipe, overwrite=overwrite)
    processes.wait()
    if processes.rank:
        torch.manual_seed(recipe.seed + 7919 * processes.rank)  # dropout of its own
    setup = Setup(recipe, encoded, model, device, processes)
    digest = lessons.digest(directory.data_digest(data))
    journal = Journal(run_dir if processes.first else None)
    work = Work(setup, run_dir, data, digest, predictor, journal, console)
    try:
        with _stop_on_signal() as stopping:
            if (taught := teach(work, lessons, stopping)) is None:
                raise Interrupted("stopped while teachers were asked; finished answers are kept.")
            work = replace(work, taught=taught)
            counters = _run_stages(work, resume=resume, stopping=stopping)
    finally:
        work.journal.close()
    if processes.first:
        _finish(work, counters)
    processes.wait()
    return read_scores(run_dir)


@contextmanager
def _console_of(processes: Processes, console: Console | None) -> Iterator[Console]:
    """The first process speaks; the others would only repeat it."""
    if processes.first:
        yield console or Console(stderr=True)
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        yield Console(file=nowhere)


def read_scores(run_dir: Path) -> dict[str, Any]:
    """The content of a finished run's `scores.json`."""
    path = run_dir / directory.SCORES
    if not path.is_file():
        raise RecipeError(f"{run_dir}: no {directory.SCORES}; the run is not finished.")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _run_stages(work: Work, *, resume: bool, stopping: threading.Event) -> Counters:
    saved = load_resume(work.run_dir) if resume else None
    if saved:
        counters = counters_of(saved[1], work.digest, work.processes)
        work.journal.cut(saved[1]["journal"])
    else:
        counters = Counters()
        work.journal.cut(0)
    for index in range(counters.stage, len(work.recipe.stages)):
        stage = work.recipe.stages[index]
        setup = work.setup_of(stage)
        plan = plan_stage(stage, work.recipe, {n: len(e) for n, e in setup.encoded.items()})
        state = start_stage(setup, stage, plan, counters)
        trained = [p for group in state.optimizer.param_groups for p in group["params"]]
        counters.trained = max(counters.trained, sum(p.numel() for p in trained))
        if saved and index == counters.stage:
            unpack_state(state, *saved, work.processes.rank)
            saved = None
            work.console.print(f"resumed at stage {stage.name}, step {counters.step}")
        else:
            work.journal.write("stage", stage=stage.name, steps=plan.steps, tasks=plan.tasks)
            set_floors(work, stage, counters)
            if index:  # the kept model, from which this stage starts, is about to be replaced
                _save(work, state, only=True)
        _run_stage(work, stage, plan, state, stopping)
        if not work.judged(stage):  # nothing to choose by: the last weights are kept
            keep(work, stage, counters, "last")
        work.processes.wait()
        load_weights_into(state.model, work.run_dir / MODEL)
        counters.stage, counters.step = index + 1, 0
        counters.best, counters.waited, counters.floors = {}, 0, {}
    return counters


def _run_stage(
    work: Work, stage: Stage, plan: Plan, state: TrainState, stopping: threading.Event
) -> None:
    counters = state.counters
    told = saved = time.monotonic()
    setup = work.setup_of(stage)
    monitor = Monitor(work.console, stage.name, plan.tasks, plan.steps, counters.step)
    with monitor:
        while counters.step < plan.steps:
            done = train_step(setup, stage, plan, state)
            counters.step += 1
            now = time.monotonic()
            counters.seconds += now - told
            work.journal.write("step", stage=stage.name, step=counters.step, **done)
            monitor.step(done["losses"], done["rows"], done["tokens"], done.get("skipped"))
            judged = counters.step % plan.evaluate_every == 0 or counters.step == plan.steps
            over = judged and bool(work.judged(stage)) and judge(work, stage, state, monitor)
            if over:
                break
            every = stage.checkpoint_every or math.inf
            due = counters.step % every == 0 or now - saved > CHECKPOINT_EVERY_S
            due, stop = work.processes.agree(due, stopping.is_set())
            if due or stop:
                _save(work, state)
                saved = time.monotonic()
            if stop:
                raise Interrupted(f"stopped at stage {stage.name}, step {counters.step}; saved.")
            told = time.monotonic()


def _save(work: Work, state: TrainState, *, only: bool = False) -> None:
    """One more checkpoint. only: earlier ones, of a stage that is over, are of no use now."""
    tensors, values = pack_state(state, work.digest, work.processes)
    if work.processes.first:
        values = values | {"journal": work.journal.flush()}
        save_resume(work.run_dir, tensors, values, keep=1 if only else KEPT_GENERATIONS)


def _finish(work: Work, counters: Counters) -> None:
    """Judge the saved model as `evaluate` would, and write what there is to know of the run."""
    predictor = load_single(work.run_dir, device=str(work.setup.device))
    scores = evaluate_into(work.run_dir / directory.PREDICTIONS, predictor, work.data)
    model = predictor.model
    told = {
        "tasks": scores,
        "overall": overall(work.tasks, scores),
        "precision": precision_name(model.encoder.precision),
        "cost": {
            "seconds": round(counters.seconds, 2),
            "rows": counters.rows,
            "tokens": counters.tokens,
            "tokens_per_s": round(counters.tokens / max(counters.seconds, 1e-9), 1),
            "peak_memory_bytes": _peak_memory(work.setup.device),
            "parameters": sum(p.numel() for p in model.parameters()),
            "trained_parameters": counters.trained,
        },
        "selected": counters.kept,
    }
    write_text(work.run_dir / directory.SCORES, json.dumps(told, indent=2) + "\n")
    remove_resume(work.run_dir)


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


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
