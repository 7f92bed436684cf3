"""What a part may know of its stage before it begins: so that it can say what will go amiss."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StageFacts:
    """A stage in numbers, and the encoder that it trains."""

    steps: int
    steps_per_epoch: int
    epochs: int
    """Begun, the last one perhaps in part."""
    layers: int
    dropout: float
    """Of the encoder's hidden layers."""
    encoder: Sequence[str]
    """Names of the encoder's own parameters, in its order; no adapter's."""
