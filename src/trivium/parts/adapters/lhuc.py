"""Learning hidden unit contributions (Swietojanski & Renals 2014)."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from trivium.model.encoder import EncoderConfig
from trivium.model.sides import Half, NamedModules, Side
from trivium.parts.adapters.base import SidePart


class LHUC(SidePart):
    """An amplitude for every unit of every sublayer, per task: 2 sigmoid(a) * h (equation 3, with
    the range 0 to 2 of Swietojanski, Li & Renals 2016, equation 7).

    h is the sublayer's output after dropout, before residual and LayerNorm: the units that a layer
    adds to its stream. a is learned and starts at 0, where every amplitude is 1: so training starts
    at the pretrained function, with or without `zero_start`. layers * 2 * width parameters a task.
    The paper trains nothing else of the network: for that, `freeze_base: true`.
    """

    kind: Literal["lhuc"] = "lhuc"

    def count(self, config: EncoderConfig, tasks: Sequence[str]) -> int:
        return 2 * len(self.layers(config)) * config.hidden_size * len(self.chosen(tasks))

    def build(self, config: EncoderConfig) -> Side:
        return _Amplitudes(config.hidden_size, self.layers(config))


class _Amplitudes(Side):
    def __init__(self, width: int, layers: range) -> None:
        super().__init__()
        self.layer = NamedModules(
            {
                str(index): nn.ParameterList(nn.Parameter(torch.zeros(width)) for _ in range(2))
                for index in layers
            }
        )

    def within(self, layer: int, half: Half, update_ND: Tensor) -> Tensor:
        if str(layer) not in self.layer:
            return update_ND
        halves = self.layer[str(layer)]
        assert isinstance(halves, nn.ParameterList)
        amplitude_D: Tensor = 2.0 * torch.sigmoid(halves[half])
        return update_ND * amplitude_D.to(update_ND.dtype)
