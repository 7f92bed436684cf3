"""Whose a parameter of the encoder is, by its name: the one place that knows.

Its own parameters carry Hugging Face's names. What adapters add is `….lora.…`, which all tasks
share, or `sides.<kind>.<task>.…`, which is one task's.
"""


def side_task(name: str) -> str | None:
    """The task whose side a parameter belongs to; None of what all tasks share."""
    match name.split("."):
        case ["sides", _, task, *_]:
            return task
    return None


def is_adapter_parameter(name: str) -> bool:
    """Whether an adapter added it."""
    return side_task(name) is not None or ".lora." in name
