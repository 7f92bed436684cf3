"""Training: stages of steps, from a recipe to a run directory."""

import json
import math
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from trivium.errors import RecipeError
from trivium.parts.tasks import Task
from trivium.recipe import Recipe, Stage, load_recipe
from trivium.run import directory
from trivium.run.build import build, choose_device, choose_precision, precision_name
from trivium.run.checkpoint import (
    MODEL,
    load_resume,
    load_weights_into,
    remove_resume,
    save_model,
    save_resume,
    write_text,
)
from trivium.run.data import Data, encode, load_data, packer_for
from trivium.run.evaluate import Scores, evaluate, overall, readout_of, score, write_predictions
from trivium.run.journal import Journal
from trivium.run.load import load
from trivium.run.machine import keep_memory
from trivium.run.plan import Plan, plan_stage
from trivium.run.predict import TorchPredictor
from trivium.run.preview import Preview, print_preview
from trivium.run.progress import Monitor
from trivium.run.state import Counters, TrainState, counters_of, pack_state, unpack_state
from trivium.run.step import Setup, start_stage, train_step
from trivium.text.packing import TokenTable

CHECKPOINT_EVERY_S = 120.0
"""What a crash can cost. Evaluations need no checkpoint of their own: they happen again, alike."""


class Interrupted(Exception):  # noqa: N818 an outcome, not an error
    """Training was asked to stop, and saved what resuming needs."""


@dataclass(frozen=True, slots=True)
class Work:
    """What stays the same during a run."""

    setup: Setup
    run_dir: Path
    data: Data
    digest: str
    predictor: TorchPredictor
    journal: Journal
    console: Console

    @property
    def recipe(self) -> Recipe:
        return self.setup.recipe

    @property
    def tasks(self) -> dict[str, Task]:
        return dict(self.recipe.tasks)

    @property
    def judged(self) -> list[str]:
        """Tasks that have dev rows."""
        return [name for name, splits in self.data.items() if "dev" in splits]


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
    run_dir = Path(run_dir)
    console = console or Console(stderr=True)
    directory.refuse_unusable(run_dir, resume=resume, overwrite=overwrite)
    device = choose_device(recipe.device)
    keep_memory()
    recipe, data = load_data(recipe)
    if resume:
        directory.check_same_recipe(run_dir, recipe)
        if (run_dir / directory.SCORES).is_file():
            console.print(f"{run_dir}: this run is finished; nothing to resume.")
            return read_scores(run_dir)
    model, tokenizer = build(recipe)
    table = TokenTable(tokenizer)
    limit = model.encoder.config.max_position_embeddings
    packers = {name: packer_for(task, tokenizer, limit) for name, task in recipe.tasks.items()}
    encoded = {
        name: encode(task, data[name]["train"].examples, table, packers[name])
        for name, task in recipe.tasks.items()
    }
    print_preview(Preview(recipe, data, encoded, model), console)
    model.encoder.precision = choose_precision(recipe.precision, device)
    predictor = TorchPredictor(model.to(device), recipe.tasks, tokenizer)
    if not resume:
        directory.start_run(run_dir, recipe, overwrite=overwrite)
    setup = Setup(recipe, encoded, model, device)
    digest = directory.data_digest(data)
    work = Work(setup, run_dir, data, digest, predictor, Journal(run_dir), console)
    try:
        with _stop_on_signal() as stopping:
            counters = _run_stages(work, resume=resume, stopping=stopping)
    finally:
        work.journal.close()
    return _finish(work, counters)


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
        counters = counters_of(saved[1], work.digest)
        work.journal.cut(saved[1]["journal"])
    else:
        counters = Counters()
        work.journal.cut(0)
    for index in range(counters.stage, len(work.recipe.stages)):
        stage = work.recipe.stages[index]
        plan = plan_stage(stage, work.recipe, {n: len(e) for n, e in work.setup.encoded.items()})
        state = start_stage(work.setup, stage, plan, counters)
        if saved and index == counters.stage:
            unpack_state(state, *saved)
            saved = None
            work.console.print(f"resumed at stage {stage.name}, step {counters.step}")
        else:
            work.journal.write("stage", stage=stage.name, steps=plan.steps, tasks=plan.tasks)
        _run_stage(work, stage, plan, state, stopping)
        if not work.judged:  # nothing to choose by: the last weights are kept
            _keep(work, stage, counters, "last")
        load_weights_into(state.model, work.run_dir / MODEL)
        counters.stage, counters.step = index + 1, 0
        counters.best, counters.waited = {}, 0
    return counters


def _run_stage(
    work: Work, stage: Stage, plan: Plan, state: TrainState, stopping: threading.Event
) -> None:
    counters = state.counters
    told = saved = time.monotonic()
    monitor = Monitor(work.console, stage.name, plan.tasks, plan.steps, counters.step)
    with monitor:
        while counters.step < plan.steps:
            done = train_step(work.setup, stage, plan, state)
            counters.step += 1
            now = time.monotonic()
            counters.seconds += now - told
            work.journal.write("step", stage=stage.name, step=counters.step, **done)
            monitor.step(done["losses"], done["rows"], done["tokens"])
            judged = counters.step % plan.evaluate_every == 0 or counters.step == plan.steps
            over = judged and bool(work.judged) and _judge(work, stage, state, monitor)
            due = stage.checkpoint_every and counters.step % stage.checkpoint_every == 0
            if due or now - saved > CHECKPOINT_EVERY_S or stopping.is_set():
                _save(work, state)
                saved = time.monotonic()
            if stopping.is_set():
                raise Interrupted(f"stopped at stage {stage.name}, step {counters.step}; saved.")
            if over:
                work.console.print(f"no better model in {stage.patience} evaluations: stage ends")
                break
            told = time.monotonic()


# --- judging and keeping -----------------------------------------------------------------------


def _judge(work: Work, stage: Stage, state: TrainState, monitor: Monitor) -> bool:
    """Evaluate on dev and keep the model if it is the best; True where patience has run out."""
    counters = state.counters
    judged = {name: work.data[name] for name in work.judged}
    scores = evaluate(work.predictor, judged)
    values = {name: s["dev"][work.tasks[name].metric] for name, s in scores.items()}
    values["overall"] = overall(work.tasks, scores)["dev"]["leaderboard"]
    better = [name for name, value in values.items() if value > counters.best.get(name, -math.inf)]
    counters.best |= {name: values[name] for name in better}
    wanted = [n for n in better if n != "overall"] if stage.select == "any" else [stage.select]
    kept = any(name in better for name in wanted)
    counters.waited = 0 if kept else counters.waited + 1
    if kept:
        _keep(work, stage, counters, stage.select)
    work.journal.write(
        "evaluation", stage=stage.name, step=counters.step, scores=scores,
        overall=values["overall"], kept=kept, seconds=counters.seconds,
    )  # fmt: skip
    shown = {name: (work.tasks[name].metric, values[name]) for name in judged}
    monitor.evaluation(shown, kept, f"overall {values['overall']:.4f}")
    return stage.patience is not None and counters.waited >= stage.patience


def _keep(work: Work, stage: Stage, counters: Counters, by: str) -> None:
    counters.kept = {"stage": stage.name, "step": counters.step, "by": by}
    predictor = work.predictor
    precision = precision_name(predictor.model.encoder.precision)
    folder = work.run_dir / MODEL
    save_model(predictor.model, predictor.tasks, predictor.tokenizer, folder, precision)


def _save(work: Work, state: TrainState) -> None:
    tensors, values = pack_state(state, work.digest)
    save_resume(work.run_dir, tensors, values | {"journal": work.journal.flush()})


def _finish(work: Work, counters: Counters) -> dict[str, Any]:
    """Judge the saved model as `evaluate` would, and write what there is to know of the run."""
    predictor = load(work.run_dir, device=str(work.setup.device))
    scores: Scores = {}
    for name, splits in work.data.items():
        scores[name] = {}
        for split in (s for s in ("dev", "test") if s in splits):
            readout_BK = readout_of(predictor, work.tasks[name], splits[split])
            scores[name][split] = score(work.tasks[name], readout_BK, splits[split])
            path = work.run_dir / directory.PREDICTIONS / f"{name}-{split}.csv"
            write_predictions(path, work.tasks[name], readout_BK, splits[split])
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
        },
        "selected": counters.kept,
    }
    write_text(work.run_dir / directory.SCORES, json.dumps(told, indent=2) + "\n")
    remove_resume(work.run_dir)
    return told


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
