"""Heads: from a text's vectors to a task's outputs. To add one: a file, a line in `AnyHead`."""

from typing import Annotated

from pydantic import Field

from trivium.parts.heads.base import HeadPart
from trivium.parts.heads.bilstm import BiLSTMHead
from trivium.parts.heads.cosine import CosineHead, SigmoidCosineHead
from trivium.parts.heads.linear import ConcatHead, LinearHead
from trivium.parts.heads.mlp import MLPHead
from trivium.parts.heads.trunks import build_trunks, check_trunks

AnyHead = Annotated[
    LinearHead | ConcatHead | CosineHead | SigmoidCosineHead | MLPHead | BiLSTMHead,
    Field(discriminator="kind"),
]

__all__ = [
    "AnyHead",
    "BiLSTMHead",
    "ConcatHead",
    "CosineHead",
    "HeadPart",
    "LinearHead",
    "MLPHead",
    "SigmoidCosineHead",
    "build_trunks",
    "check_trunks",
]
