"""AdapterPart: few parameters added to an encoder; SidePart: a set of them for each task."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Self

from pydantic import Field

from trivium.errors import RecipeError, did_you_mean
from trivium.model.encoder import Encoder, EncoderConfig
from trivium.model.sides import Side
from trivium.part import Part


class AdapterPart(Part):
    kind: str
    freeze_base: bool = False
    """The encoder's own parameters get no gradient; only adapters and heads learn."""

    @property
    def freezes_base(self) -> bool:
        return self.freeze_base

    @property
    def begins_with(self) -> str | None:
        """Folder, in PEFT's format, that its values are read from; None where they are drawn."""
        return None

    def moved(self, place: Callable[[str], str]) -> Self:
        """The same with every folder that it names as `place` makes it."""
        return self

    @property
    @abstractmethod
    def shared(self) -> bool:
        """Whether all tasks use, and train, the same added parameters."""

    @abstractmethod
    def attach(self, encoder: Encoder, tasks: Sequence[str]) -> None:
        """Add fresh parameters, drawn from torch's global generator, where the encoder's are.

        tasks: names of all the model's tasks. Raises RecipeError for settings that do not fit the
        encoder, and where the same kind of adapter stands already.
        """

    @abstractmethod
    def count(self, config: EncoderConfig, tasks: Sequence[str]) -> int:
        """Parameters that `attach` adds to such an encoder. Raises RecipeError as it does."""


class SidePart(AdapterPart):
    tasks: tuple[str, ...] = ()
    """Who gets one; by default every task."""
    top: int | None = Field(default=None, gt=0)
    """Only beside so many layers, counted from the top; by default beside all."""
    zero_start: bool = False
    """Start at exactly the pretrained function: the last matrix before the sum is zero."""

    @property
    def shared(self) -> bool:
        return False

    def attach(self, encoder: Encoder, tasks: Sequence[str]) -> None:
        device = encoder.embeddings.word_embeddings.weight.device
        for task in self.chosen(tasks):
            side = self.build(encoder.config).to(device).train(encoder.training)
            encoder.sides.add(self.kind, task, side)

    @abstractmethod
    def build(self, config: EncoderConfig) -> Side:
        """One task's fresh side, for such an encoder."""

    def chosen(self, tasks: Sequence[str]) -> list[str]:
        """Of the model's tasks those that get a side."""
        for name in self.tasks:
            if name not in tasks:
                hint = did_you_mean(name, tasks)
                raise RecipeError(f"adapters: {self.kind}: no task {name!r}{hint}")
        return [name for name in tasks if not self.tasks or name in self.tasks]

    def layers(self, config: EncoderConfig) -> range:
        """Layers, counted from 0, that have a side."""
        layers = config.num_hidden_layers
        if self.top is not None and self.top > layers:
            raise RecipeError(
                f"adapters: {self.kind}: top is {self.top}, but the encoder has {layers} layers."
            )
        return range(layers - (self.top or layers), layers)
