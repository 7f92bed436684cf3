"""A short training with a look-ahead now and then."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from trivium.errors import RecipeError
from trivium.recipe import Recipe, Stage
from trivium.run.assembly.device import undisturbed
from trivium.run.lookahead.measure import LENGTH, look_ahead
from trivium.run.screen.progress import Monitor
from trivium.run.training.ahead import Later
from trivium.run.training.parameters import start_stage
from trivium.run.training.pieces import TOKENS_AT_ONCE, pieces
from trivium.run.training.plan import Plan, plan_stage
from trivium.run.training.state import Counters, TrainState
from trivium.run.training.step import train_step
from trivium.run.training.work import Setup
from trivium.text.streams import Stream

STEPS, EVERY = 400, 10
"""Where nobody says: of training, at most, and between two look-aheads."""


@dataclass(frozen=True, slots=True)
class Look:
    """How long to train, and how often to look ahead."""

    steps: int | None = None
    """Of training; by default as many as the recipe has, and at most STEPS. The stage's schedule
    ends with them."""
    every: int = EVERY
    """Steps between look-aheads."""
    length: float = LENGTH


@dataclass(frozen=True, slots=True)
class Seen:
    """What a training showed."""

    tasks: list[str]
    gains: list[NDArray[np.float64]]
    """Of every look-ahead: gain_TT."""
    steps: int
    """Of training that were taken."""
    seed: int
    stopped: bool
    """Whether it ended early, as it was asked to."""


def stage_to_follow(recipe: Recipe) -> int:
    """Place of the first stage that trains several tasks on something shared. Raises
    RecipeError."""
    for place, stage in enumerate(recipe.stages):
        if len(recipe.stage_tasks(stage)) > 1 and recipe.shares(stage):
            return place
    raise RecipeError(
        "affinity: no stage of the recipe trains several tasks on an encoder that learns, so none "
        "can help or harm another. Put the tasks that are to be compared into one recipe, and "
        "train its encoder."
    )


def shortened(recipe: Recipe, place: int, steps: int | None) -> Recipe:
    """The recipe with that stage alone, of so many steps (see `Look`), without teachers."""
    stage = recipe.stages[place]
    kept = tuple(part for part in stage.regularizers if part.teaching is None)
    change: dict[str, Any] = {"regularizers": kept, "guard": None, "guard_from": None}
    if steps is None:
        change["steps"] = min(STEPS, stage.steps or STEPS)
    else:
        change |= {"steps": steps, "epochs": None}
    return recipe.model_copy(update={"stages": (stage.model_copy(update=change),)})


def follow(setup: Setup, look: Look, console: Console, stopping: threading.Event) -> Seen:
    """Train, and look ahead on the way. Ends early if asked to stop.

    setup: of a recipe with one stage. The look-aheads read batches of their own and change nothing
    of the training, whose weights are those that it would have without them.
    """
    (stage,) = setup.recipe.stages
    plan = plan_stage(stage, setup.recipe, {n: len(e) for n, e in setup.encoded.items()})
    state = start_stage(setup, stage, plan, Counters())
    streams = [_stream(setup, plan, name) for name in plan.tasks]
    found: list[NDArray[np.float64]] = []
    with Monitor(console, "affinity", plan.tasks, plan.steps, 0) as monitor:
        while state.counters.step < plan.steps and not stopping.is_set():
            told = train_step(setup, stage, plan, state)
            done = told.facts() if isinstance(told, Later) else told
            state.counters.step += 1
            if state.counters.step % look.every == 0:
                found.append(_look(setup, stage, state, streams, look.length))
            monitor.step(done["losses"], done["rows"], done["tokens"], done.get("skipped"))
    steps = state.counters.step
    return Seen(plan.tasks, found, steps, setup.recipe.seed, stopped=steps < plan.steps)


def _stream(setup: Setup, plan: Plan, name: str) -> Stream:
    """Rows to look at, in an order that is not that of training."""
    rows = len(setup.encoded[name])
    return Stream(f"{name} ahead", rows, plan.sizes[name], setup.recipe.seed, rows)


def _look(
    setup: Setup, stage: Stage, state: TrainState, streams: Sequence[Stream], length: float
) -> NDArray[np.float64]:
    limit = stage.tokens_at_once or TOKENS_AT_ONCE[setup.device.type]
    names = setup.recipe.stage_tasks(stage)
    with undisturbed(setup.device):  # by tasks that draw what a batch asks
        drawn = {
            name: pieces(setup.encoded[name], stream.draw(), limit, setup.processes, setup.device)
            for name, stream in zip(names, streams, strict=True)
        }
    return look_ahead(state.model, setup.recipe.tasks, drawn, length)
