"""What of the encoder a stage trains. To add one: a class, and a line in `Trainable`.

Heads and adapters always train; this is about the encoder's own parameters, which are told apart
by their Hugging Face names.
"""

import math
from abc import abstractmethod
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from trivium.part import Part
from trivium.parts.facts import StageFacts

EMBEDDINGS = -1


def layer_of(name: str, layers: int) -> int:
    """The layer, from 0, that an encoder parameter belongs to.

    Embeddings are -1; the pooler stands on the top layer and counts as part of it. Raises
    ValueError for a name that is none of an encoder with so many layers.
    """
    match name.split("."):
        case ["embeddings", *_]:
            return EMBEDDINGS
        case ["encoder", "layer", number, *_] if number.isdecimal() and int(number) < layers:
            return int(number)
        case ["pooler", *_]:
            return layers - 1
    raise ValueError(f"{name!r} is no parameter of an encoder of {layers} layers")


class TrainablePart(Part):
    @property
    def trains_any(self) -> bool:
        """Whether anything of the encoder's own trains."""
        return True

    @property
    def chooses(self) -> bool:
        """Whether it tells the encoder's parameters apart, so that freezing all contradicts it."""
        return True

    @property
    def changes(self) -> bool:
        """Whether the answer of `trains` depends on `epochs_done`."""
        return False

    @property
    def drops_frozen(self) -> bool:
        """Whether what never trains has dropout nonetheless, while something does."""
        return True

    def frozen_layers(self, layers: int) -> int | None:
        """How many of the encoder's lowest layers never train, where the embeddings do not either;
        None where these do."""
        return None

    def trains(self, name: str, layers: int, epochs_done: float) -> bool:
        """Whether an encoder parameter trains after so many epochs of the stage.

        name: as in "encoder.layer.3.output.dense.weight", no adapter's; layers: the encoder's.
        """
        return self.ever_trains(name, layers)

    @abstractmethod
    def ever_trains(self, name: str, layers: int) -> bool:
        """Whether it trains at any time of a stage that is long enough."""

    def check(self, layers: int) -> None:
        """Raises ValueError where the settings do not fit an encoder of so many layers."""

    def notes(self, facts: StageFacts) -> Iterator[str]:
        """What in such a stage may not do what was meant, a sentence each."""
        yield from ()


class Full(TrainablePart):
    """All of the encoder."""

    kind: Literal["full"] = "full"

    @property
    def chooses(self) -> bool:
        return False

    def ever_trains(self, name: str, layers: int) -> bool:
        return True


class Frozen(TrainablePart):
    """Nothing of the encoder: only heads and adapters learn."""

    kind: Literal["frozen"] = "frozen"

    @property
    def trains_any(self) -> bool:
        return False

    @property
    def chooses(self) -> bool:
        return False

    def frozen_layers(self, layers: int) -> int | None:
        return layers

    def ever_trains(self, name: str, layers: int) -> bool:
        return False


class BitFit(TrainablePart):
    """All bias terms, those of LayerNorm included, and nothing else (Ben Zaken et al. 2022)."""

    kind: Literal["bitfit"] = "bitfit"

    def ever_trains(self, name: str, layers: int) -> bool:
        return name.endswith(".bias")


class Top(TrainablePart):
    """The top layers and the pooler; the embeddings and the layers below them stay as they are."""

    kind: Literal["top"] = "top"
    layers: int = Field(ge=1)
    """How many."""
    frozen_dropout: bool = True
    """Whether the layers below have dropout as those that train have it. `false`: they have none,
    so a text comes to the trained layers the same every time, and on a CPU with compiled kernels
    only its first time is computed: later epochs cost the top alone. Not beside adapters, which are
    in all layers."""

    @property
    def drops_frozen(self) -> bool:
        return self.frozen_dropout

    def frozen_layers(self, layers: int) -> int | None:
        return layers - self.layers

    def ever_trains(self, name: str, layers: int) -> bool:
        return layer_of(name, layers) >= max(0, layers - self.layers)

    def check(self, layers: int) -> None:
        if self.layers > layers:
            raise ValueError(
                f"layers: the top {self.layers} are to train, but the encoder has {layers}. Say "
                f"{layers} at most, or `full` to train the embeddings too."
            )


class Gradual(TrainablePart):
    """Layer after layer thaws, from the top down (Howard & Ruder 2018, section 3.3).

    In the first `every` epochs the top layer and the pooler train, beside the heads. Each `every`
    epochs one more layer joins them, and after the lowest layer the embeddings: an encoder of n
    layers trains whole from epoch n * every on.
    """

    kind: Literal["gradual"] = "gradual"
    every: float = Field(default=1.0, gt=0)
    """Epochs, or parts of one."""

    @property
    def changes(self) -> bool:
        return True

    def trains(self, name: str, layers: int, epochs_done: float) -> bool:
        # 0.3 / 0.1 falls just short of 3: without the tolerance a layer would join a step late.
        joined = math.floor(epochs_done / self.every + 1e-9)
        return layer_of(name, layers) >= layers - 1 - joined

    def ever_trains(self, name: str, layers: int) -> bool:
        return True

    def notes(self, facts: StageFacts) -> Iterator[str]:
        done = (facts.steps - 1) / facts.steps_per_epoch  # before the last step
        never = [name for name in facts.encoder if not self.trains(name, facts.layers, done)]
        if never:
            wanted = (facts.layers + 1) * self.every
            yield (
                f"it ends before {len(never)} of the encoder's tensors learn, such as "
                f"{never[0]}; they count as trained above. {wanted:g} epochs would reach all, "
                "or a smaller `every`"
            )


Trainable = Annotated[Full | Frozen | BitFit | Top | Gradual, Field(discriminator="kind")]
