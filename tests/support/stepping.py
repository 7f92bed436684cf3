"""A stage's steps one by one."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trivium.recipe import Stage, parse_recipe
from trivium.run.assembly.model import build
from trivium.run.rows.encoded import encode_all
from trivium.run.rows.load import load_data
from trivium.run.training.ahead import Later
from trivium.run.training.parameters import start_stage
from trivium.run.training.plan import Plan, plan_stage
from trivium.run.training.state import Counters, TrainState
from trivium.run.training.step import train_step
from trivium.run.training.work import Setup


@dataclass
class Run:
    """A stage that is on its way."""

    setup: Setup
    stage: Stage
    plan: Plan
    state: TrainState

    def step(self) -> dict[str, Any]:
        done = train_step(self.setup, self.stage, self.plan, self.state)
        self.state.counters.step += 1
        return done.facts() if isinstance(done, Later) else done


def begun(
    values: dict[str, Any],
    precision: torch.dtype = torch.float32,
    *,
    device: str = "cpu",
    drops: bool = False,
    **stage: Any,
) -> Run:
    """Before a stage's first step, always with the same weights; without dropout unless it
    `drops`."""
    stages = [values["stages"][0] | {"sampler": "round_robin"} | stage]
    recipe, data = load_data(parse_recipe(values | {"stages": stages}))
    torch.manual_seed(0)
    model, tokenizer = build(recipe)
    for module in () if drops else model.modules():
        if isinstance(getattr(module, "dropout", None), float):
            module.__dict__["dropout"] = 0.0
    model.to(device).encoder.precision = precision
    encoded = encode_all(recipe, data, tokenizer, model.encoder.config.max_position_embeddings)
    setup = Setup(recipe, encoded, model, torch.device(device))
    plan = plan_stage(recipe.stages[0], recipe, {n: len(e) for n, e in encoded.items()})
    state = start_stage(setup, recipe.stages[0], plan, Counters())
    return Run(setup, recipe.stages[0], plan, state)


def trained(run: Run, count: int) -> list[dict[str, Any]]:
    return [run.step() for _ in range(count)]


def moments(run: Run) -> dict[str, dict[str, Tensor]]:
    state = run.state.optimizer.state
    named = run.state.model.named_parameters()
    return {name: dict(state[p]) for name, p in named if state.get(p)}


def with_task(values: dict[str, Any], name: str, **changes: Any) -> dict[str, Any]:
    """A recipe with other settings of a task."""
    tasks = values["tasks"]
    return values | {"tasks": tasks | {name: tasks[name] | changes}}
