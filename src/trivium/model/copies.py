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


def renew(groups: Iterable[Sequence[nn.Linear]], make: Make[Any], dtype: torch.dtype) -> None:
    """Copies of linear layers one below the other, which `remade` has made once, in one operation
    for all groups of layers whose parameters have changed."""
    places: list[Tensor] = []
    sources: list[Tensor] = []
    for parts in groups:
        weights = [part.weight for part in parts]
        biases = [part.bias for part in parts]
        kept = parts[0].__dict__["_remade"]
        before, weight, bias = kept[make]
        stamp = _stamp(dtype, [*weights, *biases])
        if before == stamp:
            continue
        kept[make] = (stamp, weight, bias)
        rows = [len(one) for one in weights]
        places += [*torch.split(weight, rows), *torch.split(bias, rows)]
        sources += [*weights, *biases]
    if places:
        with torch.no_grad():
            torch._foreach_copy_(places, sources)
