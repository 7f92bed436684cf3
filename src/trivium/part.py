"""Part: the one way a recipe's choice becomes code."""

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """A piece a recipe can choose: its fields are the settings, its methods the behaviour.

    Parts are frozen and hold no state between steps, so that a recipe can be hashed, saved,
    compared and sent to another machine. What must be remembered goes in `Step.memory`.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )
