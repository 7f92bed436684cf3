"""What stays the same during a run."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from trivium.parts.tasks import Task
from trivium.recipe import Recipe
from trivium.run.data import Data
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

    @property
    def recipe(self) -> Recipe:
        return self.setup.recipe

    @property
    def processes(self) -> Processes:
        return self.setup.processes

    @property
    def tasks(self) -> dict[str, Task]:
        return dict(self.recipe.tasks)

    @property
    def judged(self) -> list[str]:
        """Tasks that have dev rows."""
        return [name for name, splits in self.data.items() if "dev" in splits]
