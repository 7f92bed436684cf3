"""Combiners: one update from several tasks' gradients or losses.

To add one: a class in a file beside this one, and its name in `Combiner`.
"""

from typing import Annotated

from pydantic import Field

from trivium.parts.combiners.base import CombinerPart, Sum
from trivium.parts.combiners.gradnorm import GradNorm
from trivium.parts.combiners.gramian import IMTLG, MGDA, CAGrad, Nash, UPGrad
from trivium.parts.combiners.surgery import GradVac, PCGrad
from trivium.parts.combiners.weighting import DWA, Uncertainty

Combiner = Annotated[
    Sum | PCGrad | GradVac | MGDA | CAGrad | IMTLG | Nash | UPGrad | Uncertainty | DWA | GradNorm,
    Field(discriminator="kind"),
]

__all__ = [
    "DWA",
    "IMTLG",
    "MGDA",
    "CAGrad",
    "Combiner",
    "CombinerPart",
    "GradNorm",
    "GradVac",
    "Nash",
    "PCGrad",
    "Sum",
    "UPGrad",
    "Uncertainty",
]
