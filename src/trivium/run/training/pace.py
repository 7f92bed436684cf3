"""How fast a stage's steps and evaluations are here, measured on a few of them."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from trivium.model.multitask import MultiTaskModel
from trivium.recipe import Stage
from trivium.run.assembly.device import undisturbed
from trivium.run.predictor.scoring import evaluate_splits
from trivium.run.predictor.torch import TorchPredictor
from trivium.run.rows.splits import JUDGED, Data
from trivium.run.training.parameters import start_stage
from trivium.run.training.plan import plan_stage
from trivium.run.training.state import Counters
from trivium.run.training.step import train_step
from trivium.run.training.work import Setup

WARM_UP, STEPS = 2, 8
"""Steps: those that are not timed (memory is found, kernels are chosen), and those that are."""
ROWS = 64
"""Of a split, by whose time that of all its rows is told."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Of one stage, in seconds."""

    step_s: float
    judge_s: float
    """An evaluation on the dev rows of all tasks that the stage is judged by."""


def paces(setup: Setup, predictor: TorchPredictor, data: Data) -> list[Pace]:
    """Of every stage. The model, and all that is random, are afterwards as they were.

    setup: of the run, whose stages need no teachers. predictor: with the same model.
    """
    with _as_it_was(setup.model, setup.device):
        # Every stage starts from the untrained model: weights make no step slower.
        return [
            Pace(_step_s(setup, index), _judge_s(setup, predictor, data, ("dev",), stage))
            for index, stage in enumerate(setup.recipe.stages)
        ]


def finish_s(setup: Setup, predictor: TorchPredictor, data: Data) -> float:
    """Seconds that judging the kept model on all its splits takes."""
    return _judge_s(setup, predictor, data, JUDGED, None)


def _step_s(setup: Setup, index: int) -> float:
    stage = setup.recipe.stages[index]
    plan = plan_stage(stage, setup.recipe, {n: len(e) for n, e in setup.encoded.items()})
    state = start_stage(setup, stage, plan, Counters(stage=index))
    if not plan.steps:
        return 0.0
    begun = 0.0
    for step in range(WARM_UP + STEPS):
        if step == WARM_UP:
            begun = _now(setup.device)
        train_step(setup, stage, plan, state)
        state.counters.step = min(state.counters.step + 1, plan.steps - 1)
    return (_now(setup.device) - begun) / STEPS


def _judge_s(
    setup: Setup,
    predictor: TorchPredictor,
    data: Data,
    splits: Sequence[str],
    stage: Stage | None,
) -> float:
    """Of some rows of each task, as much longer as it has more of them."""
    names = setup.recipe.judged_tasks(stage) if stage else list(setup.recipe.tasks)
    seconds = 0.0
    for name in names:
        for split, rows in data[name].items():
            if split not in splits or not rows.examples:
                continue
            part = {name: {split: replace(rows, examples=rows.examples[:ROWS])}}
            evaluate_splits(predictor, part, (split,))
            begun = _now(setup.device)
            evaluate_splits(predictor, part, (split,))
            share = len(rows.examples) / len(part[name][split].examples)
            seconds += share * (_now(setup.device) - begun)
    return seconds


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


@contextmanager
def _as_it_was(model: MultiTaskModel, device: torch.device) -> Iterator[None]:
    """Train it inside; its weights, modes and what is random are then put back."""
    learns = {name: p.requires_grad for name, p in model.named_parameters()}
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    training = [(module, module.training) for module in model.modules()]
    with undisturbed(device):
        try:
            yield
        finally:
            model.zero_grad()
            model.load_state_dict(before)
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(learns[name])
            for module, mode in training:
                module.training = mode
