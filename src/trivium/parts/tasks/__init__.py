"""The kinds of task. To add one: a file beside this one, and its class in `AnyTask`."""

from typing import Annotated

from pydantic import Field

from trivium.parts.tasks.base import MissingLabelError, RowError, Task
from trivium.parts.tasks.classification import Classification
from trivium.parts.tasks.regression import Regression

AnyTask = Annotated[Classification | Regression, Field(discriminator="kind")]

__all__ = ["AnyTask", "Classification", "MissingLabelError", "Regression", "RowError", "Task"]
