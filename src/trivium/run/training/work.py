"""What stays the same during a run, and during one of its stages."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from rich.console import Console

from trivium.model.multitask import MultiTaskModel
from trivium.model.weights import Weights
from trivium.parts.tasks import Task
from trivium.recipe import Recipe, Stage
from trivium.run.folder.journal import Journal
from trivium.run.folder.scores import Baselines
from trivium.run.predictor.torch import TorchPredictor
from trivium.run.rows.encoded import Encoded
from trivium.run.rows.splits import Data
from trivium.run.training.distributed import Processes
from trivium.run.training.start import Start


@dataclass(frozen=True, slots=True)
class Setup:
    """What stays the same during training."""

    recipe: Recipe
    encoded: dict[str, Encoded]
    """Training rows of every task."""
    model: MultiTaskModel
    device: torch.device
    processes: Processes = field(default_factory=Processes)
    start: Start = field(default_factory=Start)


@dataclass(frozen=True, slots=True)
class Work:
    """A run that is going on."""

    setup: Setup
    run_dir: Path
    data: Data
    digest: str
    predictor: TorchPredictor
    journal: Journal
    console: Console
    taught: Mapping[str, dict[str, Encoded]] = field(default_factory=dict)
    """Training rows of every task in the stages that have teachers, with what these say."""
    baselines: Mapping[str, Baselines] = field(default_factory=dict)
    """What tasks had before training."""
    fallbacks: Mapping[str, Weights] = field(default_factory=dict)
    """By task whose head is judged as a probe before the first step, the parameters of it then."""
    began: float = field(default_factory=time.monotonic)
    """When the run did, by `time.monotonic()`."""

    def setup_of(self, stage: Stage) -> Setup:
        """What stays the same during a stage."""
        return replace(self.setup, encoded=self.taught.get(stage.name, self.setup.encoded))

    @property
    def recipe(self) -> Recipe:
        return self.setup.recipe

    @property
    def processes(self) -> Processes:
        return self.setup.processes

    @property
    def tasks(self) -> dict[str, Task]:
        return dict(self.recipe.tasks)

    def judged(self, stage: Stage) -> list[str]:
        """Tasks with dev rows that a stage is judged by."""
        return [name for name in self.recipe.judged_tasks(stage) if "dev" in self.data[name]]
