"""The loop over stages and steps, with its evaluations and checkpoints."""

import math
import threading
import time
from collections.abc import Callable
from typing import Any

from torch import Tensor

from trivium.errors import Interrupted
from trivium.model.multitask import MultiTaskModel
from trivium.recipe import Stage
from trivium.recipe.probed import fallen_back_in, judges_start
from trivium.run.baselines.start import fallen_back
from trivium.run.folder.model import load_weights_into
from trivium.run.folder.names import MODEL
from trivium.run.folder.resume import KEPT_GENERATIONS, load_resume, save_resume
from trivium.run.screen.console import say
from trivium.run.screen.progress import Monitor
from trivium.run.training.ahead import Ahead, Facts
from trivium.run.training.averaged import averaged
from trivium.run.training.judge import judge, keep, measure_for_guards, set_floors
from trivium.run.training.launch import Beginning
from trivium.run.training.parameters import start_stage
from trivium.run.training.plan import Plan, plan_stage
from trivium.run.training.resting import keeping
from trivium.run.training.start import refuse_another_start
from trivium.run.training.state import Counters, TrainState, counters_of, pack_state, unpack_state
from trivium.run.training.step import train_step
from trivium.run.training.work import Work

FIRST_CHECKPOINT_S = 10.0
"""So that a disk which cannot hold one is found early, and a short run is not lost."""
CHECKPOINT_EVERY_S = 120.0
"""What a crash can cost. Evaluations need no checkpoint of their own: they happen again, alike."""


def run_stages(work: Work, how: Beginning, stopping: threading.Event) -> Counters:
    """Train stage after stage, from the last checkpoint where the run is resumed; the run's
    counters. The kept model is in the run's folder, and in `work`. Raises Interrupted, once all is
    saved, after `stopping` was set.
    """
    saved = _saved(work) if how.resume else None
    counters = _resumed(work, saved[1], how) if saved else Counters()
    # What came after the checkpoint will be written again, alike to the bit.
    work.journal.cut(saved[1]["journal"] if saved else 0)
    for index in range(counters.stage, len(work.recipe.stages)):
        stage = work.recipe.stages[index]
        setup = work.setup_of(stage)
        plan = plan_stage(stage, work.recipe, {n: len(e) for n, e in setup.encoded.items()})
        state = start_stage(setup, stage, plan, counters)
        counters.trained = max(counters.trained, _trained(state))
        if saved and index == counters.stage:
            unpack_state(state, *saved, work.processes.rank)
            saved = None
            say(work.console, f"resumed at stage {stage.name}, step {counters.step}")
        else:
            work.journal.write("stage", stage=stage.name, steps=plan.steps, tasks=plan.tasks)
            set_floors(work, stage, counters)
            if index:  # the kept model, from which this stage starts, is about to be replaced
                _save(work, state, only=True)
        _run_stage(work, stage, plan, state, stopping)
        # The next stage starts from the kept model, not from the last step's.
        if not work.judged(stage):  # nothing to choose by: the last weights are kept
            with averaged(state):
                keep(work, stage, counters, "last")
        _kept_into(state.model, work)
        measure_for_guards(work, stage, counters)
        counters.stage, counters.step = index + 1, 0
        counters.best, counters.fallback, counters.waited, counters.floors = {}, {}, 0, {}
    return counters


def _kept_into(model: MultiTaskModel, work: Work) -> None:
    """The kept model's weights, which the first process reads."""
    if work.processes.first:
        load_weights_into(model, work.run_dir / MODEL)
    work.processes.share_(list(model.state_dict().values()))


def _trained(state: TrainState) -> int:
    """Parameters that are trained."""
    groups = state.optimizer.param_groups
    return sum(parameter.numel() for group in groups for parameter in group["params"])


def _saved(work: Work) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The newest checkpoint, which the first process reads."""
    processes = work.processes
    found = load_resume(work.run_dir) if processes.first else None
    tensors, values = found or ({}, None)
    values = processes.from_first(values)
    if values is None:
        return None
    return processes.tensors_of_first(tensors, work.setup.device), values


def _resumed(work: Work, values: dict[str, Any], how: Beginning) -> Counters:
    counters = counters_of(values, work.digest, work.processes, any_number=how.any_number)
    refuse_another_start(work.setup.start, values.get("start", ""))
    if values["processes"] != work.processes.world:
        say(
            work.console,
            f"the run had {values['processes']} processes and goes on with {work.processes.world}: "
            "with the same rows and decisions, and other noise of dropout",
        )
    return counters


def _run_stage(
    work: Work, stage: Stage, plan: Plan, state: TrainState, stopping: threading.Event
) -> None:
    counters = state.counters
    setup, wait_s = work.setup_of(stage), FIRST_CHECKPOINT_S
    monitor = Monitor(work.console, stage.name, plan.tasks, plan.steps, counters.step)
    ahead = Ahead(_teller(work, stage, monitor, counters))
    with monitor:
        _judge_start(work, stage, plan, state, monitor)
        last = saved = time.monotonic()
        last_cpu = time.process_time()
        while counters.step < plan.steps:
            done = train_step(setup, stage, plan, state)
            counters.step += 1
            judged = counters.step % plan.evaluate_every == 0 or counters.step == plan.steps
            ahead.put(counters.step, done, wait=judged)
            now = time.monotonic()
            counters.seconds += now - last
            counters.cpu_seconds += time.process_time() - last_cpu
            over = judged and bool(work.judged(stage)) and _judge(work, stage, state, monitor)
            if over:
                break
            every = stage.checkpoint_every or math.inf
            due = counters.step % every == 0 or now - saved > wait_s
            # Clocks and signals differ between processes, but all must save and stop at one step.
            due, stop = work.processes.agree(due, stopping.is_set())
            if due or stop:
                ahead.all_told()
                _save(work, state)
                saved, wait_s = time.monotonic(), CHECKPOINT_EVERY_S
            if stop:
                raise Interrupted(f"stopped at stage {stage.name}, step {counters.step}; saved.")
            # Judging and saving are no seconds of training.
            last, last_cpu = time.monotonic(), time.process_time()


def _judge_start(work: Work, stage: Stage, plan: Plan, state: TrainState, monitor: Monitor) -> None:
    """Before any step: if there are none, or where the start may be what is kept."""
    wanted = not plan.steps or judges_start(work.recipe, stage)
    if state.counters.step or not wanted or not work.judged(stage):
        return
    # A stage without steps ends with the heads that it has.
    names = fallen_back_in(work.recipe, stage) if plan.steps else []
    probes = {name: work.fallbacks[name] for name in names if name in work.fallbacks}
    with fallen_back(state.model, probes):
        _judge(work, stage, state, monitor, fallback=bool(probes))


def _teller(
    work: Work, stage: Stage, monitor: Monitor, counters: Counters
) -> Callable[[int, Facts], None]:
    """Tells of a step: its number, and its facts."""

    def tell(step: int, done: Facts) -> None:
        if not counters.first_step_s:
            counters.first_step_s = time.monotonic() - work.began
            monitor.say(f"the first step was done {counters.first_step_s:.1f} s after the start")
        work.journal.write("step", stage=stage.name, step=step, **done)
        if "note" in done:
            monitor.say(done["note"])
        monitor.step(done["losses"], done["rows"], done["tokens"], done.get("skipped"))

    return tell


def _judge(
    work: Work, stage: Stage, state: TrainState, monitor: Monitor, *, fallback: bool = False
) -> bool:
    with averaged(state), keeping(state):
        return judge(work, stage, state, monitor, fallback=fallback)


def _save(work: Work, state: TrainState, *, only: bool = False) -> None:
    """One more checkpoint. only: earlier ones, of a stage that is over, are of no use now."""
    tensors, values = pack_state(state, work.digest, work.processes)
    if work.processes.first:
        # Flushed first, so that the journal is never behind a checkpoint that tells its length.
        values |= {"journal": work.journal.flush(), "start": work.setup.start.digest}
        save_resume(work.run_dir, tensors, values, keep=1 if only else KEPT_GENERATIONS)
