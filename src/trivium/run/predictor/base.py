"""Texts in, answers out: what every predictor can do."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from torch import Tensor

from trivium.errors import RecipeError, did_you_mean
from trivium.parts.tasks import Task
from trivium.types import Answer

Texts = str | tuple[str, ...]
"""One row's text, or its pair of texts."""


class Predictor(ABC):
    """Tasks, and what is said of their rows; answers follow from that.

    What `trivium.load` gives, be it one model or an ensemble:

        def is_urgent(model: trivium.Predictor, message: str) -> bool:
            return model.predict("urgency", [message]) == ["high"]

        is_urgent(trivium.load("runs/first"), "The machine leaks on the counter!")
    """

    tasks: Mapping[str, Task]

    @abstractmethod
    def readout(self, task: str, rows: Sequence[Texts]) -> Tensor:
        """What the model says of B rows, on the answer's own scale: readout_BK, fp32, CPU."""

    def readouts(self, asks: Mapping[str, Sequence[Texts]]) -> dict[str, Tensor]:
        """The same of several tasks' rows at once: readout_BK by task.

        A text that several tasks ask about goes through the encoder once, if they read it alike:
        cut in the same way, and without sides (PALs, Houlsby) of their own.
        """
        return {task: self.readout(task, rows) for task, rows in asks.items()}

    @property
    @abstractmethod
    def precision(self) -> str:
        """What it computes in: fp32, bf16, or both where its parts differ."""

    def predict(self, task: str, rows: Sequence[Texts]) -> list[Answer]:
        """A label's name or a score per row, in order.

        rows: texts, or pairs of texts for a task about pairs. Raises RecipeError for an unknown
        task or a row with the wrong number of texts.
        """
        return self.question(task).answers(self.readout(task, rows))

    def probabilities(self, task: str, rows: Sequence[Texts]) -> list[dict[str, float]]:
        """Per row, each label's probability (a score task: its score)."""
        columns = self.question(task).columns(self.readout(task, rows), detailed=True)
        prefix = "probability_"
        chosen = {k.removeprefix(prefix): v for k, v in columns.items() if k.startswith(prefix)}
        chosen = chosen or {"prediction": columns["prediction"]}
        return [
            {key: float(value[row]) for key, value in chosen.items()} for row in range(len(rows))
        ]

    def task(self, name: str) -> Task:
        if name not in self.tasks:
            raise RecipeError(f"no task {name!r} in this model{did_you_mean(name, self.tasks)}.")
        return self.tasks[name]

    def question(self, name: str) -> Task:
        """A task that has answers. Raises RecipeError for one that is only there to be trained."""
        task = self.task(name)
        if not task.answers_questions:
            others = [repr(n) for n, t in self.tasks.items() if t.answers_questions]
            hint = f"ask {' or '.join(others)}" if others else "no other task of this model has any"
            raise RecipeError(
                f"task {name!r} practises reading and has no answers to give; {hint}."
            )
        return task
