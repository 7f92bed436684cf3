"""What training carries from step to step, and how it is put into files and back."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from trivium.errors import RecipeError
from trivium.model.kept import KeptTexts
from trivium.model.multitask import MultiTaskModel
from trivium.run.training.distributed import Processes
from trivium.run.training.whole import WholeSteps
from trivium.text.streams import Stream


@dataclass
class Counters:
    """The numbers of a run so far; they survive in JSON."""

    stage: int = 0
    step: int = 0
    """Optimizer steps of this stage that are done."""
    rows: int = 0
    tokens: int = 0
    seconds: float = 0.0
    """Time spent in training steps, of all sessions of the run together."""
    cpu_seconds: float = 0.0
    """The same, of all cores that worked on them."""
    first_step_s: float = 0.0
    """From the run's start to the end of its first step."""
    best: dict[str, float] = field(default_factory=dict)
    """Best dev value so far in this stage: of `overall` and of each task."""
    fallback: dict[str, float] = field(default_factory=dict)
    """The dev values of what this stage may fall back on."""
    waited: int = 0
    """Evaluations since the last that was better than those of the stage before it."""
    kept: dict[str, Any] = field(default_factory=dict)
    """Where the kept model comes from: stage, step, by."""
    floors: dict[str, float] = field(default_factory=dict)
    """Lowest dev metric that this stage's guard allows each task."""
    measured: dict[str, dict[str, float]] = field(default_factory=dict)
    """Dev metrics at the end of the stages that later guards name: stage -> task -> value."""
    trained: int = 0
    """Largest number of parameters that a stage trained."""


@dataclass
class TrainState:
    """A stage that is being trained."""

    model: MultiTaskModel
    optimizer: torch.optim.Optimizer
    streams: dict[str, Stream]
    decisions: torch.Generator
    """Draws tasks and orders: kept apart from the noise of dropout."""
    memory: dict[str, Tensor]
    counters: Counters
    lr_factor: float = 1.0
    """What the schedule made of the peak learning rates in the current step."""
    whole: WholeSteps | str | None = None
    """Steps as graphs, or why there are none; None before that is known."""
    kept: KeptTexts | None = None
    """What can be computed again at any time, and is in no checkpoint."""


def pack_state(
    state: TrainState, digest: str, processes: Processes
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Everything that decides what the next step does, as tensors and JSON values."""
    tensors = {f"model.{name}": tensor for name, tensor in state.model.state_dict().items()}
    for index, slots in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{slot}": value for slot, value in slots.items()}
    tensors |= {f"memory.{name}": value for name, value in state.memory.items()}
    tensors["random.decisions"] = state.decisions.get_state()
    for rank, noise in enumerate(processes.from_each(torch.get_rng_state())):
        tensors[f"random.noise.{rank}"] = noise
    device = _device_of(state)
    if device.type == "cuda":  # and no GPU is asked that has no part in the run
        for rank, noise in enumerate(processes.from_each(torch.cuda.get_rng_state(device))):
            tensors[f"random.cuda.{rank}"] = noise
    drawn = {name: stream.drawn for name, stream in state.streams.items()}
    return tensors, {
        "counters": asdict(state.counters),
        "drawn": drawn,
        "data": digest,
        "processes": processes.world,
    }


def counters_of(
    values: Mapping[str, Any], digest: str, processes: Processes, *, any_number: bool = False
) -> Counters:
    """The counters of a saved state; refuses a state of other data or other processes.

    any_number: of processes will do.
    """
    if values["processes"] != processes.world and not any_number:
        raise RecipeError(
            f"--resume: the run began with {values['processes']} processes, now there are "
            f"{processes.world}; their dropout cannot go on as it would have. Start as many, or "
            "let it differ (--auto-resume)."
        )
    if values["data"] != digest:
        raise RecipeError(
            "--resume: the data files changed since this run began, so it cannot go on as if they "
            "had not. Put them back, or start a new run."
        )
    return Counters(**values["counters"])


def unpack_state(
    state: TrainState, tensors: Mapping[str, Tensor], values: Mapping[str, Any], rank: int
) -> None:
    """Restore in place what `pack_state` saved."""
    state.model.load_state_dict(_under("model.", tensors))
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in _under("optimizer.", tensors).items():
        index, slot = name.split(".", 1)
        slots.setdefault(int(index), {})[slot] = value
    groups = state.optimizer.state_dict()["param_groups"]
    state.optimizer.load_state_dict({"state": slots, "param_groups": groups})
    state.memory.clear()
    state.memory.update(_under("memory.", tensors))
    for name, stream in state.streams.items():
        stream.drawn = values["drawn"][name]
    state.decisions.set_state(tensors["random.decisions"])
    # A process that the run had not before keeps the noise that it started with.
    if f"random.noise.{rank}" in tensors:
        torch.set_rng_state(tensors[f"random.noise.{rank}"])
    device = _device_of(state)
    if device.type == "cuda" and f"random.cuda.{rank}" in tensors:
        torch.cuda.set_rng_state(tensors[f"random.cuda.{rank}"], device)


def _device_of(state: TrainState) -> torch.device:
    return next(state.model.parameters()).device


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
