"""What can be added to the encoder. To add one: a file beside this one, its class in `AnyAdapter`.

An adapter belongs to the model, not to a stage: it changes the model's structure.
"""

from typing import Annotated

from pydantic import Field

from trivium.parts.adapters.base import AdapterPart, SidePart
from trivium.parts.adapters.houlsby import Houlsby
from trivium.parts.adapters.lhuc import LHUC
from trivium.parts.adapters.lora import LoRA
from trivium.parts.adapters.pals import PALs

AnyAdapter = Annotated[PALs | Houlsby | LoRA | LHUC, Field(discriminator="kind")]

__all__ = ["LHUC", "AdapterPart", "AnyAdapter", "Houlsby", "LoRA", "PALs", "SidePart"]
