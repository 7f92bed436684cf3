"""What is made of parameters, and made anew when they have changed: copies in another precision.

Where they are made for a GPU they keep their place in memory, since recorded graphs know no names
but addresses, and are renewed all at once.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Made = tuple[Tensor, Tensor | None]
Module = TypeVar("Module", bound=nn.Module)
Make = Callable[[Sequence[Module], torch.dtype], Made]


def remade(
    parts: Sequence[Module], dtype: torch.dtype, make: Make[Module], read: Sequence[Tensor]
) -> Made:
    """What `make` makes of the parts; anew only after a parameter that it reads has changed."""
    stamp = _stamp(dtype, read)
    kept = parts[0].__dict__.setdefault("_remade", {})
    if make not in kept or kept[make][0] != stamp:
        # Not as inference tensors: the copy made by an evaluation may serve the next training step.
        with torch.inference_mode(False), torch.no_grad():
            made = make(parts, dtype)
            if make in kept and made[0].is_cuda:
                made = _in_place(kept[make][1:], made)
            kept[make] = (stamp, *made)
    _, weight, bias = kept[make]
    return weight, bias


def _stamp(dtype: torch.dtype, read: Sequence[Tensor]) -> tuple[object, ...]:
    # `_version` counts in-place changes, which is how optimizers and `load_state_dict` write.
    # Fused optimizers do not count theirs: `parts.optim` does it for them.
    return (dtype, *((p.data_ptr(), p._version) for p in read))


def _in_place(before: Made, made: Made) -> Made:
    """What was made, in the memory of what was made before."""
    for old, new in zip(before, made, strict=True):
        if old is None or new is None:
            if old is not new:
                return made
        elif (old.shape, old.dtype, old.device) != (new.shape, new.dtype, new.device):
            return made
    for old, new in zip(before, made, strict=True):
        if old is not None and new is not None:
            old.copy_(new)
    return before


class Renewed:
    """Copies of linear layers one below the other, as `remade` has made them, renewed all at once.

    Whoever asks `remade` for one may renew it again, in the same place.
    """

    def __init__(self, groups: Iterable[Sequence[nn.Linear]], make: Make[Any]) -> None:
        """groups: layers whose copies are one."""
        self._groups, self._make = list(groups), make
        self._copies: list[Made] = []
        self._places: list[Tensor] = []
        self._sources = [
            parameter
            for parts in self._groups
            for parameter in (*(part.weight for part in parts), *(part.bias for part in parts))
        ]
        self._versions: list[int] = []

    def renew(self) -> None:
        """All of them, if a parameter has changed."""
        copies: list[Made] = [
            parts[0].__dict__["_remade"][self._make][1:] for parts in self._groups
        ]
        same = len(copies) == len(self._copies) and all(
            now[0] is before[0] for now, before in zip(copies, self._copies, strict=True)
        )
        versions = [parameter._version for parameter in self._sources]
        if same and versions == self._versions:
            return
        if not same:
            self._copies, self._places = copies, []
            for parts, (weight, bias) in zip(self._groups, copies, strict=True):
                rows = [part.out_features for part in parts]
                assert bias is not None
                self._places += [*torch.split(weight, rows), *torch.split(bias, rows)]
        with torch.no_grad():
            torch._foreach_copy_(self._places, self._sources)
        self._versions = versions
