"""Trunks: the layers that heads of several tasks share, because they name the same."""

from collections.abc import Mapping
from typing import Protocol

from torch import nn

from trivium.parts.heads.base import HeadPart


class HasHead(Protocol):
    """What trunks need to know of a task."""

    @property
    def resolved_head(self) -> HeadPart: ...

    @property
    def sequences(self) -> int: ...


def check_trunks(tasks: Mapping[str, HasHead]) -> None:
    """ValueError where heads name the same trunk but need different layers."""
    first: dict[str, str] = {}
    for name, task in tasks.items():
        trunk = task.resolved_head.shared_trunk
        if trunk is None:
            continue
        other = first.setdefault(trunk, name)
        mine, theirs = _shape(task), _shape(tasks[other])
        for setting, value in mine.items():
            if value != theirs[setting]:
                raise ValueError(
                    f"tasks.{name}.head: shares the trunk {trunk!r} with task {other!r}, so "
                    f"their {setting} must be the same, found {value} and {theirs[setting]}. "
                    "Make them alike, or name another trunk"
                )


def build_trunks(tasks: Mapping[str, HasHead], width: int) -> dict[str, nn.Module]:
    """The shared layers by trunk, for an encoder of that width.

    Raises ValueError where heads that share them need different ones.
    """
    check_trunks(tasks)
    trunks: dict[str, nn.Module] = {}
    for task in tasks.values():
        head = task.resolved_head
        if (trunk := head.shared_trunk) is not None and trunk not in trunks:
            trunks[trunk] = head.build_trunk(width, task.sequences)
    return trunks


def _shape(task: HasHead) -> dict[str, str]:
    """What decides the form of a task's trunk; its kind first, since settings are that kind's."""
    head = task.resolved_head
    return {"kind": head.kind} | head.trunk_shape(task.sequences)
