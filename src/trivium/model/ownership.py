"""Whose a parameter is, by its name: the one place that knows.

The encoder's own parameters carry Hugging Face's names. What adapters add is `….lora.…`, which all
tasks share, or `sides.<kind>.<task>.…`, which is one task's.
"""

TRUNK = "trunk:"
"""Before a trunk's name where its parameters stand among those of heads, which start with their
task's name; no such name can hold it."""


def side_task(name: str) -> str | None:
    """The task whose side an encoder's parameter belongs to; None of what all tasks share."""
    match name.split("."):
        case ["sides", _, task, *_]:
            return task
    return None


def is_adapter_parameter(name: str) -> bool:
    """Whether an adapter added an encoder's parameter."""
    return side_task(name) is not None or ".lora." in name


def head_owner(name: str) -> str:
    """The task whose head, or the trunk, a parameter among those of heads belongs to."""
    return name.removeprefix(TRUNK).partition(".")[0]


def behind_head_owner(name: str) -> str:
    """What such a parameter is called in its head or trunk."""
    return name.removeprefix(TRUNK).partition(".")[2]


def behind_side_task(name: str) -> str:
    """What an encoder's parameter is called in a task's side; the whole name of all others."""
    return name if side_task(name) is None else ".".join(name.split(".")[3:])
