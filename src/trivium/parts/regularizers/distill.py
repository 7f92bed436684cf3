"""Distillation: the answers of trained teachers beside, or in the place of, the labels."""

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_serializer, field_validator, model_validator
from torch import Tensor

from trivium.parts.facts import StageFacts
from trivium.parts.regularizers.base import Context, RegularizerPart
from trivium.parts.regularizers.teaching import Teacher, Teaching
from trivium.parts.tasks.base import Task
from trivium.types import Step


class Distill(RegularizerPart):
    """Knowledge distillation (Hinton et al. 2015), as of one student from single-task teachers
    with teacher annealing (BAM: Clark et al. 2019, section 3.2).

    The penalty makes a batch's loss s * imitation + (1 - s) * loss of the labels: s, the teachers'
    share, is `weight` * (1 - l), where l is what annealing has given to the labels so far:
    penalty = (1 - l) * (imitation - loss of the labels). What imitation is, is the task's affair:
    `Task.imitation`. The paper mixes the targets, s * teacher + (1 - s) * label; of cross-entropy
    that is the same loss, of the squared error the same gradient.

    Labels keep what the recipe says of their loss: class weights, smoothing, focus. Imitation has
    none of these: how often a label is right is in what the teachers say. Several teachers of a
    task are averaged. A task without a teacher learns from its labels alone.
    """

    kind: Literal["distill"] = "distill"
    teachers: str | dict[str, tuple[Teacher, ...]]
    """Task -> folder of its teacher, or a list of folders; or one folder, for each task that it
    knows. `{seed}` in it stands for the seed of the run that learns."""
    anneal: bool = True
    """Whether the labels' share rises linearly, from 1 - `weight` at the stage's start to 1 at its
    end."""
    temperature: float = Field(default=1.0, gt=0)
    """T: probabilities p of teachers and student become p^(1/T), rescaled to sum to 1, and the
    imitation is multiplied by T^2, by which its gradient keeps its size (Hinton, section 2). Scores
    have none."""
    unlabelled: dict[str, str] = Field(default_factory=dict)
    """Task -> file of more rows, whose labels are not read: each takes its teachers' answer for its
    label. Rows that stand in the task's own files are left out."""

    shown_apart: ClassVar[tuple[str, ...]] = ("tasks", "weight", "teachers", "unlabelled")

    @field_validator("teachers", mode="before")
    @classmethod
    def _plain_folders(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if not value:
            raise ValueError("names no teacher; give each task the folder of a trained run")
        return {task: _listed(named) for task, named in value.items()}

    @field_serializer("teachers")
    def _as_folders(self, value: str | dict[str, tuple[Teacher, ...]]) -> Any:
        if isinstance(value, str):
            return value
        plain = {task: [teacher.plain() for teacher in each] for task, each in value.items()}
        return {task: each if len(each) > 1 else each[0] for task, each in plain.items()}

    @field_validator("teachers")
    @classmethod
    def _differ(cls, value: str | dict[str, tuple[Teacher, ...]]) -> Any:
        for task, each in value.items() if isinstance(value, dict) else ():
            if not each:
                raise ValueError(f"{task}: names no teacher; leave the task out, or name a folder")
            for teacher in each:
                if each.count(teacher) > 1:
                    raise ValueError(f"{task}: names {teacher.run} twice")
        return value

    @model_validator(mode="after")
    def _teaches_what_it_names(self) -> "Distill":
        if isinstance(self.teachers, dict):  # noqa: PLR1702
            weighed = self.weight if isinstance(self.weight, dict) else {}
            for field, names in (
                ("tasks", self.tasks), ("weight", weighed), ("unlabelled", self.unlabelled),
            ):  # fmt: skip
                for task in names:
                    if task not in self.teachers:
                        raise ValueError(f"{field}: {task!r} has no teacher; name one")
        return self

    @model_validator(mode="after")
    def _adds_rows_to_its_own_tasks(self) -> "Distill":
        for task in self.unlabelled:
            if self.tasks and task not in self.tasks:
                raise ValueError(
                    f"unlabelled: {task!r} is not among its tasks {list(self.tasks)}; add it to "
                    "`tasks`, or leave its file out"
                )
        return self

    @model_validator(mode="after")
    def _is_a_share(self) -> "Distill":
        weights = self.weight.values() if isinstance(self.weight, dict) else [self.weight]
        if max(weights, default=0.0) > 1:
            raise ValueError(
                f"weight: is the teachers' share of the target, at most 1, found {max(weights):g}"
            )
        return self

    @property
    def teaching(self) -> Teaching:
        return Teaching(self.teachers, frozenset(self.named_tasks), self.unlabelled)

    def moved(self, place: Callable[[str], str]) -> Self:
        if isinstance(self.teachers, str):
            return self.model_copy(update={"teachers": place(self.teachers)})
        teachers = {
            task: tuple(one.model_copy(update={"run": place(one.run)}) for one in each)
            for task, each in self.teachers.items()
        }
        return self.model_copy(update={"teachers": teachers})

    @property
    def named_tasks(self) -> Iterator[str]:
        yield from super().named_tasks
        yield from self.teachers if isinstance(self.teachers, dict) else ()
        yield from self.unlabelled

    def applies(self, task: str) -> bool:
        taught = isinstance(self.teachers, str) or task in self.teachers
        return taught and super().applies(task)

    def misfit(self, task: Task) -> str | None:
        if task.answers_questions:
            return None
        return (
            f"{task.name} cannot be distilled, since it has no answers that could be imitated; "
            "take it out"
        )

    def notes(self, facts: StageFacts) -> Iterator[str]:
        for task, file in self.unlabelled.items():
            if not self.applies(task):
                yield (
                    f"distill does not read {file}: its weight is 0 for {task}, whose teachers "
                    "label these rows"
                )

    def annealed(self, step: Step) -> float:
        """What annealing has given to the labels: 0 at the stage's first step, nearly 1 at its
        last."""
        return step.index / step.total if self.anneal else 0.0

    def penalty(self, context: Context) -> Tensor | None:
        found = self.in_place_of_labels(context, context.output_BK)
        if found is None:
            return None
        share, imitation = found
        return share * (imitation - context.label_loss(context.output_BK))

    def in_place_of_labels(
        self, context: Context, output_BK: Tensor
    ) -> tuple[float, Tensor] | None:
        teacher_BK = context.batch.teacher_BK
        if teacher_BK is None:
            assert isinstance(self.teachers, str), "teachers are asked before training"
            return None  # the one teacher of all tasks does not know this one
        imitation = context.task.imitation(output_BK, teacher_BK, self.temperature)
        return 1.0 - self.annealed(context.step), imitation


def _listed(named: Any) -> Any:
    """What a recipe says of a task's teachers, as a list of values of Teachers."""
    each = named if isinstance(named, list | tuple) else [named]
    return [{"run": one} if isinstance(one, str) else one for one in each]
