"""BERT's pooler (Devlin et al. 2019). Shape letters: see `trivium.types`."""

import torch
from torch import Tensor, nn

from trivium.model.kernels import Linear


class Pooler(nn.Module):
    """tanh(W h + b) on the first token's vector."""

    def __init__(self, width: int, std: float) -> None:
        """width: D; std: of the weights that it starts with."""
        super().__init__()
        self.dense = Linear(width, width)
        nn.init.normal_(self.dense.weight, std=std)
        nn.init.zeros_(self.dense.bias)

    def forward(self, cls_RD: Tensor) -> Tensor:
        return torch.tanh(self.dense(cls_RD))
