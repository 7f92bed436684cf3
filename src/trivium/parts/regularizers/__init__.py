"""Regularizers: what is added to a batch's loss. To add one: a file, a line in `AnyRegularizer`.

A penalty compares the batch's outputs with those of another pass: from perturbed embeddings
(`smart`), of earlier weights (`bregman`), or under other dropout masks (`rdrop`); or with what
other models answered (`distill`). How far apart two outputs are is the task's affair:
`Task.divergence`, `Task.imitation`. `l2_sp` compares no outputs, but weights.
"""

from typing import Annotated

from pydantic import Field

from trivium.parts.regularizers.base import Context, RegularizerPart, skipped_key
from trivium.parts.regularizers.bregman import Bregman
from trivium.parts.regularizers.distill import Distill
from trivium.parts.regularizers.l2_sp import L2SP
from trivium.parts.regularizers.noise import Noise, restore_noise, take_noise
from trivium.parts.regularizers.rdrop import RDrop
from trivium.parts.regularizers.smart import Smart
from trivium.parts.regularizers.teaching import SEED, Teacher, Teaching

__all__ = [
    "L2SP",
    "SEED",
    "AnyRegularizer",
    "Bregman",
    "Context",
    "Distill",
    "Noise",
    "RDrop",
    "RegularizerPart",
    "Smart",
    "Teacher",
    "Teaching",
    "restore_noise",
    "skipped_key",
    "take_noise",
]

AnyRegularizer = Annotated[Smart | Bregman | RDrop | Distill | L2SP, Field(discriminator="kind")]
