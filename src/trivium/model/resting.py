"""Layers that learn nothing, and those that rest: that have no dropout either.

What rests makes of a text the same every time. It lies below all that learns: the embeddings and
the layers that follow them. A module rests when it is in evaluation mode while its encoder trains.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def lowest_learning(layers: Iterable[nn.Module], x_ND: Tensor) -> int:
    """The first layer that a backward pass has to come to; the layers' number where there is none.

    x_ND: what enters the first one, whose gradient may be wanted.
    """
    number, learns = 0, torch.is_grad_enabled()
    for layer in layers:
        if learns and (x_ND.requires_grad or any(p.requires_grad for p in layer.parameters())):
            break
        number += 1
    return number


def resting(encoder: nn.Module, embeddings: nn.Module, layers: Iterable[nn.Module]) -> int:
    """How many layers rest while the others of their encoder train."""
    if not encoder.training or embeddings.training:
        return 0
    number = 0
    for layer in layers:
        if layer.training:
            break
        number += 1
    return number
