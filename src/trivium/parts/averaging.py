"""Averages of a stage's weights over its steps. To add one: a class, and a line in `Averaging`.

They are judged and kept in the weights' place; training goes on with the weights themselves.
"""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from trivium.part import Part
from trivium.parts.facts import StageFacts
from trivium.types import Step


class AveragingPart(Part):
    @abstractmethod
    def share(self, step: Step, taken: int) -> float | None:
        """What the weights after a step count in the average, which keeps the rest; None where the
        average stays as it is. taken: how many steps' weights are in it; the first ones are it.
        """

    def notes(self, facts: StageFacts) -> Iterator[str]:
        """What in such a stage may not do what was meant, a sentence each."""
        yield from ()


class EMA(AveragingPart):
    """An exponential average (Tarvainen & Valpola 2017, section 2):
    v <- decay * v + (1 - decay) * w after every step. v starts at the weights after the first."""

    kind: Literal["ema"] = "ema"
    decay: float = Field(default=0.999, ge=0, lt=1)
    """About the last 1 / (1 - decay) steps count."""

    def share(self, step: Step, taken: int) -> float | None:
        return 1.0 - self.decay if taken else 1.0

    def notes(self, facts: StageFacts) -> Iterator[str]:
        if self.decay**facts.steps > 0.5:
            yield (
                f"ema with a decay of {self.decay:g} looks back over some "
                f"{1 / (1 - self.decay):,.0f} steps, but there are {facts.steps}: most of the "
                "average is where it began; set a smaller `decay`"
            )


class SWA(AveragingPart):
    """The mean of the weights over the end of a stage (stochastic weight averaging, Izmailov et al.
    2018, algorithm 1): v <- (n v + w) / (n + 1). Until it begins there is no average, and the
    weights themselves are judged."""

    kind: Literal["swa"] = "swa"
    after: float = Field(default=0.5, ge=0, lt=1)
    """Share of the stage's steps before the first that counts."""
    every: int = Field(default=1, gt=0)
    """Steps between those that count. (The paper takes the end of each epoch, or of each cycle of
    the learning rate.)"""

    def share(self, step: Step, taken: int) -> float | None:
        past = step.index - int(self.after * step.total)
        if past < 0 or past % self.every:
            return None
        return 1.0 / (taken + 1)

    def notes(self, facts: StageFacts) -> Iterator[str]:
        count = -(-(facts.steps - int(self.after * facts.steps)) // self.every)
        if count < 2:
            yield "swa averages the weights of one step only; set a smaller `every` or `after`"


Averaging = Annotated[EMA | SWA, Field(discriminator="kind")]
