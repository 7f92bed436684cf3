"""The generator that dropout draws from, so that a pass can repeat another's masks.

Between two passes with masks of their own, dropout changes outputs by far more than a perturbation
of 1e-5 does, and a penalty would measure nothing but it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Noise:
    """A state of a device's own generator, from which all dropout on that device is drawn."""

    device: torch.device
    state: Tensor


def take_noise(device: torch.device) -> Noise:
    """The state now. It is a copy: later draws do not change it."""
    on_gpu = device.type == "cuda"
    return Noise(device, torch.cuda.get_rng_state(device) if on_gpu else torch.get_rng_state())


def restore_noise(noise: Noise) -> None:
    """The next draws on the device are those that followed `take_noise`."""
    if noise.device.type == "cuda":
        torch.cuda.set_rng_state(noise.state, noise.device)
    else:
        torch.set_rng_state(noise.state)


@contextmanager
def repeated(noise: Noise) -> Iterator[None]:
    """Inside, the same draws once more; afterwards, draws go on as if there had been none."""
    after = take_noise(noise.device)
    restore_noise(noise)
    try:
        yield
    finally:
        restore_noise(after)
