"""What every regularizer can choose and must say, and what it is given."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

from pydantic import field_validator, model_validator
from torch import Tensor

from trivium.model.multitask import MultiTaskModel
from trivium.part import Part
from trivium.parts.facts import StageFacts
from trivium.parts.regularizers.noise import Noise
from trivium.parts.regularizers.teaching import Teaching
from trivium.parts.tasks.base import Task
from trivium.types import Batch, Step


@dataclass(frozen=True, slots=True)
class Context:
    """One batch and its clean pass."""

    model: MultiTaskModel
    task: Task
    batch: Batch
    x_ND: Tensor
    """What `Encoder.embed` gave, with its graph."""
    output_BK: Tensor
    """What the model gave, with its graph."""
    noise: Noise
    """Taken between `embed` and `encode`."""
    step: Step
    label_loss: Callable[[Tensor], Tensor]
    """output_BK, of any pass of these rows -> the loss of their labels as it stands in the batch's
    loss, where a mean over the rows counts 1: so what is taken from it leaves nothing of it. A mean
    over the rows counts otherwise where labels have weights and a batch goes through in pieces; and
    a loss that compares rows is that of the whole batch, whichever process has them."""
    others: tuple["RegularizerPart", ...] = ()
    """All that the stage has for the batch's task."""

    def loss(self, output_BK: Tensor) -> Tensor:
        """What a pass of these rows costs in this stage, before penalties that compare passes: the
        loss of the labels, and of what has taken their place."""
        loss = labels = self.label_loss(output_BK)
        for part in self.others:
            if (found := part.in_place_of_labels(self, output_BK)) is not None:
                share, instead = found
                loss = loss + part.weight_of(self.batch.task) * share * (instead - labels)
        return loss


def skipped_key(kind: str) -> str:
    """Where a regularizer of this kind counts, in the step's memory, the batches that went without
    its penalty."""
    return f"{kind}.skipped"


class RegularizerPart(Part):
    """Beside its penalty it says what that takes: all that training, its preview and the estimate
    of memory know of a regularizer is in these methods."""

    tasks: tuple[str, ...] = ()
    """By default all of the stage."""
    weight: float | dict[str, float] = 1.0
    """Factor on the penalty; given per task, it is 1 for those not named."""

    shown_apart: ClassVar[tuple[str, ...]] = ("tasks", "weight")
    """Settings of which a preview tells in lines of their own."""

    @field_validator("weight")
    @classmethod
    def _not_negative(cls, value: float | dict[str, float]) -> float | dict[str, float]:
        for weight in value.values() if isinstance(value, dict) else [value]:
            if weight < 0:
                raise ValueError(f"must be 0 or more, found {weight:g}")
        return value

    @model_validator(mode="after")
    def _weighs_its_own_tasks(self) -> "RegularizerPart":
        named = self.weight if isinstance(self.weight, dict) else {}
        for task in named:
            if self.tasks and task not in self.tasks:
                raise ValueError(
                    f"weight: {task!r} is not among its tasks {list(self.tasks)}; add it to "
                    "`tasks`, or leave its weight out"
                )
        return self

    @property
    def needs_fp32(self) -> bool:
        """Whether its batches are computed in fp32, whatever the recipe's precision."""
        return False

    @property
    def extra_passes(self) -> int:
        """Passes of a batch, beside its own, whose graphs are held until backward."""
        return 0

    @property
    def label_losses(self) -> int:
        """How often it asks for the labels' loss of another pass than the batch's own. A process
        that has no row of the batch must take part as often where rows are compared."""
        return 0

    @property
    def weight_copies(self) -> int:
        """Copies of the trained weights that are kept from step to step."""
        return 0

    @property
    def about_weights(self) -> bool:
        """Whether it is about the model's weights, and not about rows: see `pull`."""
        return False

    @property
    def teaching(self) -> Teaching | None:
        """Who is asked about the rows before training; None where nobody is."""
        return None

    @property
    def named_tasks(self) -> Iterator[str]:
        """Tasks that its settings name; the stage must train them."""
        yield from self.tasks
        yield from self.weight if isinstance(self.weight, dict) else ()

    def applies(self, task: str) -> bool:
        return (not self.tasks or task in self.tasks) and self.weight_of(task) > 0

    def speaks_of(self, task: str, *, taught: bool) -> bool:
        """Whether it has something to say of a task. taught: some teacher knows the task."""
        return self.applies(task) and (taught or self.teaching is None)

    def weight_of(self, task: str) -> float:
        return self.weight.get(task, 1.0) if isinstance(self.weight, dict) else self.weight

    def misfit(self, task: Task) -> str | None:
        """Why it can do nothing for a task that its settings name; None where it can."""
        return None

    def notes(self, facts: StageFacts) -> Iterator[str]:
        """What in such a stage may not do what was meant, a sentence each."""
        yield from ()

    def moved(self, place: Callable[[str], str]) -> Self:
        """The same with every folder that it names as `place` makes it."""
        return self

    @abstractmethod
    def penalty(self, context: Context) -> Tensor | None:
        """A scalar, before `weight`, to add to the batch's loss; None where it is skipped."""

    def in_place_of_labels(
        self, context: Context, output_BK: Tensor
    ) -> tuple[float, Tensor] | None:
        """Of what takes the place of the labels: its share, before `weight`, and its loss for any
        pass of the batch's rows. None where labels keep their place."""
        return None

    def pull(self, model: MultiTaskModel, start: Mapping[str, Tensor], step: Step) -> float | None:
        """Called once a step, when all gradients are there: may change `.grad` by what is about
        weights. Its penalty, for the journal; None of one that is about rows.

        start: the encoder's weights at the start of the run, by name, if it is `about_weights`.
        """
        return None

    def after_step(self, model: MultiTaskModel, step: Step) -> None:
        """Called after every optimizer step, whichever tasks it trained."""
