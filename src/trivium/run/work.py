"""What stays the same during a run."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console

from trivium.parts.tasks import Task
from trivium.recipe import Recipe, Stage
from trivium.run.data import Data, Encoded
from trivium.run.distributed import Processes
from trivium.run.journal import Journal
from trivium.run.predict import TorchPredictor
from trivium.run.step import Setup


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
