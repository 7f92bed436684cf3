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
    kept = parts[0].__dict__.setdefault("_remade", _Kept())
    if make not in kept or kept[make][0] != stamp:
        # Not as inference tensors: the copy made by an evaluation may serve the next training step.
        with torch.inference_mode(False), torch.no_grad():
            made = make(parts, dtype)
            if make in kept and made[0].is_cuda:
                made = _in_place(kept[make][1:], made)
            kept[make] = (stamp, *made)
    _, weight, bias = kept[make]
    return weight, bias


class _Kept(dict[Any, Any]):
    """What was made of a layer. A copy of the layer makes its own: weights in the order of oneDNN
    cannot even be copied."""

    def __deepcopy__(self, memo: Any) -> "_Kept":
        return _Kept()

    def __reduce__(self) -> tuple[type["_Kept"], tuple[()]]:
        return _Kept, ()


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

    `remade` then knows them for new.
    """

    def __init__(self, groups: Iterable[Sequence[nn.Linear]], make: Make[Any]) -> None:
        """groups: layers whose copies are one."""
        self._groups, self._make = list(groups), make
        self._copies: list[Made] = []
        self._places: list[Tensor] = []
        self._read = [
            [*(part.weight for part in parts), *(part.bias for part in parts)]
            for parts in self._groups
        ]
        self._sources = [parameter for read in self._read for parameter in read]
        self._versions: list[int] = []

    @property
    def are_made(self) -> bool:
        """Whether there are any yet."""
        return all(self._make in parts[0].__dict__.get("_remade", {}) for parts in self._groups)

    @property
    def addresses(self) -> list[int]:
        """Where they were when they were last looked for."""
        return [made[0].data_ptr() for made in self._copies]

    def renew(self) -> None:
        """All of them, if a parameter has changed."""
        is_new = self._look()
        if is_new or self._counted() != self._versions:
            self.copy()
            self.count()

    def copy(self) -> None:
        """All of them, whatever has changed: always the same operations, as a graph has them. They
        must have been renewed before, and be counted afterwards."""
        with torch.no_grad():
            torch._foreach_copy_(self._places, self._sources)

    def count(self) -> None:
        """Hear that they are those of the parameters as these are now."""
        self._versions = self._counted()
        for parts, read in zip(self._groups, self._read, strict=True):
            kept = parts[0].__dict__["_remade"]
            _, weight, bias = kept[self._make]
            kept[self._make] = (_stamp(weight.dtype, read), weight, bias)

    def _counted(self) -> list[int]:
        return [parameter._version for parameter in self._sources]

    def _look(self) -> bool:
        """Find where they are; whether that is elsewhere than before."""
        copies: list[Made] = [
            parts[0].__dict__["_remade"][self._make][1:] for parts in self._groups
        ]
        if len(copies) == len(self._copies) and all(
            now[0] is before[0] for now, before in zip(copies, self._copies, strict=True)
        ):
            return False
        self._copies, self._places = copies, []
        for parts, (weight, bias) in zip(self._groups, copies, strict=True):
            rows = [part.out_features for part in parts]
            assert bias is not None
            self._places += [*torch.split(weight, rows), *torch.split(bias, rows)]
        return True
