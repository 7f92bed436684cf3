"""The kinds of task. To add one: a file beside this one, and its class in `AnyTask`."""

from typing import Annotated

from pydantic import Field

from trivium.parts.tasks.base import Task
from trivium.parts.tasks.classification import Classification
from trivium.parts.tasks.labels import Labelled
from trivium.parts.tasks.matching import Matching
from trivium.parts.tasks.mlm import MaskedWords
from trivium.parts.tasks.multilabel import Multilabel
from trivium.parts.tasks.ordinal import Ordinal
from trivium.parts.tasks.regression import Regression
from trivium.parts.tasks.rows import MissingLabelError, RowError
from trivium.parts.tasks.simcse import SimCSE
from trivium.parts.tasks.sources import Source

AnyTask = Annotated[
    Classification | Ordinal | Multilabel | Regression | MaskedWords | Matching | SimCSE,
    Field(discriminator="kind"),
]

__all__ = [
    "AnyTask",
    "Classification",
    "Labelled",
    "MaskedWords",
    "Matching",
    "MissingLabelError",
    "Multilabel",
    "Ordinal",
    "Regression",
    "RowError",
    "SimCSE",
    "Source",
    "Task",
]
