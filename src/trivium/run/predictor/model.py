"""Predictors whose tasks are whole, with torch: what evaluation, ensembles and teachers ask."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from trivium.answering.form import form_named
from trivium.answering.reading import Reading, Texts
from trivium.answering.says import Floats
from trivium.errors import RecipeError, did_you_mean
from trivium.parts.tasks import Task
from trivium.run.predictor.base import Predictor


class ModelPredictor(Predictor):
    """One model in PyTorch, or several."""

    tasks: Mapping[str, Task]

    @abstractmethod
    def said(self, readings: Sequence[Reading]) -> dict[str, Tensor]:
        """As `read`, in tensors: readout_BK by task, fp32, CPU."""

    def read(self, readings: Sequence[Reading]) -> dict[str, Floats]:
        return {name: readout_BK.numpy() for name, readout_BK in self.said(readings).items()}

    def readout(self, task: str, rows: Sequence[Texts]) -> Tensor:
        """What the model says of B rows, on the answer's own scale: readout_BK, fp32, CPU."""
        return self.readouts({task: rows})[task]

    def readouts(self, asks: Mapping[str, Sequence[Texts]]) -> dict[str, Tensor]:
        """As `arrays`, in tensors, also of tasks that have no answers: readout_BK by task."""
        for name in asks:
            self.task(name)
        readings = []
        for reader in self.readers:
            readings += reader.read({n: rows for n, rows in asks.items() if n in reader.forms})
        said = self.said(readings)
        none = {n: torch.zeros(0, max(1, self.tasks[n].outputs)) for n in asks if n not in said}
        return {name: (said | none)[name] for name in asks}

    def task(self, name: str) -> Task:
        if name not in self.tasks:
            raise RecipeError(f"no task {name!r} in this model{did_you_mean(name, self.tasks)}.")
        return self.tasks[name]

    def question(self, name: str) -> Task:
        """A task that has answers. Raises RecipeError for one that is only there to be trained."""
        return self.tasks[form_named(name, self.forms).name]
