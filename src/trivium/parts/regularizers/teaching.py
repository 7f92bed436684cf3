"""Teachers as a recipe names them: trained models that are asked about the rows before training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from trivium.part import Part

SEED = "{seed}"
"""In a teacher's folder, the seed of the run that learns: each seed of a study has teachers of its
own."""


class Teacher(Part):
    """A trained model that knows the task. In a recipe a plain folder stands for one without
    settings."""

    run: str = Field(min_length=1)
    """Folder of a run, of a model or of an ensemble; a relative one starts at the recipe's own
    folder, or else at the working directory."""
    task: str | None = None
    """What the teacher calls the task, if not as the student does."""

    def plain(self) -> Any:
        """As a recipe would say it: the folder alone, if there is nothing else."""
        return {"run": self.run, "task": self.task} if self.task else self.run


@dataclass(frozen=True, slots=True)
class Teaching:
    """Whom a regularizer wants asked, and about what. The answers come as `Batch.teacher_BK`."""

    teachers: str | Mapping[str, tuple[Teacher, ...]]
    """Task -> its teachers; or one folder, for each task that it knows."""
    wanted: frozenset[str]
    """Tasks that must have a teacher, whatever the one folder knows."""
    unlabelled: Mapping[str, str]
    """Task -> file of more rows, for which the answer is the label."""
