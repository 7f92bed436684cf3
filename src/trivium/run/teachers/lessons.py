"""What the teachers of a recipe will be asked: plain data."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trivium.errors import RecipeError
from trivium.parts.tasks import Task
from trivium.run.rows.splits import Split
from trivium.types import Example


@dataclass(frozen=True, slots=True)
class Found:
    """A teacher that is there and fits."""

    folder: Path
    task: str
    """What the teacher calls the task."""
    digest: str
    """sha256 of its description, which has those of its files."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What the teachers of one task are asked: the training rows, then those without labels."""

    name: str
    """Of the file that keeps the answers."""
    task: Task
    teachers: tuple[Found, ...]
    train: Split
    unlabelled: Split | None = None
    left_out: int = 0
    """Rows without labels that stand in the task's own files."""

    @property
    def extra(self) -> Sequence[Example]:
        return self.unlabelled.examples if self.unlabelled else []

    @property
    def rows(self) -> list[tuple[str, ...]]:
        return [example.texts for example in (*self.train.examples, *self.extra)]

    def identity(self) -> dict[str, Any]:
        """All that the answers depend on, for JSON."""
        texts = hashlib.sha256(repr(self.rows).encode()).hexdigest()
        teachers = [
            {"run": str(one.folder), "task": one.task, "sha256": one.digest}
            for one in self.teachers
        ]
        return {"task": self.task.name, "teachers": teachers, "texts": texts}


@dataclass(frozen=True, slots=True)
class Lessons:
    """The lessons of a recipe's stages: stage -> task -> lesson."""

    by_stage: Mapping[str, Mapping[str, Lesson]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Two of one name would share a file, and so one task would learn another's answers.
        names = {id(one): one.name for of in self.by_stage.values() for one in of.values()}
        assert len({*names.values()}) == len(names), f"lessons share a name: {[*names.values()]}"

    def __iter__(self) -> Iterator[Lesson]:
        """Each one once, however many stages share it."""
        return iter(
            {one.name: one for of in self.by_stage.values() for one in of.values()}.values()
        )

    def of(self, stage: str) -> Mapping[str, Lesson]:
        return self.by_stage.get(stage, {})

    def digest(self, data: str) -> str:
        """sha256 of what a run learns from: data, and what teachers say of it."""
        if not self.by_stage:
            return data
        text = json.dumps([data, *(one.identity() for one in self)])
        return hashlib.sha256(text.encode()).hexdigest()


def refuse_itself(lessons: Lessons, run_dir: Path) -> None:
    """RecipeError where a teacher is in the folder that the run is about to write."""
    home = run_dir.resolve()
    for lesson in lessons:
        for teacher in lesson.teachers:
            if home in (teacher.folder.resolve(), *teacher.folder.resolve().parents):
                raise RecipeError(
                    f"{run_dir}: {lesson.task.name} has its teacher in this very folder, which the "
                    "run would replace. Name another folder with --out."
                )
