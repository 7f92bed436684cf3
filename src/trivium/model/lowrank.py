"""LoRA's pair of small matrices (Hu et al. 2022) and their product beside a linear layer's.

`kernels.linear` applies them; `model.lora` puts them into an encoder. Small letters: C columns of
the output, r the rank.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

Context = Any  # what autograd hands to forward and backward


class LoraPair(nn.Module):
    """A low-rank addition to a linear layer's weight: W + scale * b @ a (eq. 3).

    `b` starts at zero, so the layer starts as it was; `a` is drawn as PEFT draws it.
    """

    def __init__(
        self, inputs: int, outputs: int, rank: int, alpha: float, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.empty(rank, inputs))
        self.b = nn.Parameter(torch.zeros(outputs, rank))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))
        self.alpha, self.scale = alpha, alpha / rank
        self.dropout = dropout
        """Of the layer's input, on its way to `a` only."""
        self.merged = False
        """Whether the layer's weight holds the addition already."""

    @property
    def rank(self) -> int:
        return len(self.a)

    def product(self) -> Tensor:
        """scale * b @ a, in the shape of the weight."""
        return self.scale * (self.b @ self.a)


class Term(NamedTuple):
    """One pair's share of a product: columns of the output, and the pair in the input's dtype."""

    columns: slice
    scale: float
    mask: Tensor | None
    """Dropout's, of the shape of the input."""
    a: Tensor
    b: Tensor


class LowRank(torch.autograd.Function):
    """y_NC[:, columns] += scale * (x * mask) a^T b^T for every term, in place.

    parameters: each pair's own a and b, to which the gradients go in fp32.
    """

    @staticmethod
    def forward(
        ctx: Context,
        y_NC: Tensor,
        x_ND: Tensor,
        terms: Sequence[Term],
        *parameters: Tensor,
    ) -> Tensor:
        kept: list[Tensor | None] = [x_ND]
        for columns, scale, mask, a, b in terms:
            low_Nr = (x_ND if mask is None else x_ND * mask) @ a.t()
            y_NC[:, columns].addmm_(low_Nr, b.t(), alpha=scale)
            kept += [mask, a, b, low_Nr]
        ctx.mark_dirty(y_NC)
        ctx.save_for_backward(*kept)
        ctx.places = [(term.columns, term.scale) for term in terms]
        ctx.dtype = parameters[0].dtype
        return y_NC

    @staticmethod
    def backward(ctx: Context, grad_NC: Tensor) -> tuple[Tensor | None, ...]:
        x_ND, *kept = ctx.saved_tensors
        grad_x: Tensor | None = None
        grads: list[Tensor | None] = []
        for index, (columns, scale) in enumerate(ctx.places):
            mask, a, b, low_Nr = kept[4 * index : 4 * index + 4]
            grad = grad_NC[:, columns]
            grad_low = (grad @ b).mul_(scale)
            seen = x_ND if mask is None else x_ND * mask
            wants_a, wants_b = ctx.needs_input_grad[3 + 2 * index : 5 + 2 * index]
            grads.append((grad_low.t() @ seen).to(ctx.dtype) if wants_a else None)
            grads.append((grad.t() @ low_Nr).to(ctx.dtype).mul_(scale) if wants_b else None)
            if ctx.needs_input_grad[1]:
                back = grad_low @ a
                back = back if mask is None else back.mul_(mask)
                grad_x = back if grad_x is None else grad_x.add_(back)
        return (grad_NC, grad_x, None, *grads)


@torch.no_grad()
def gradients_of_pair(pair: LoraPair, grad_NC: Tensor, x_ND: Tensor) -> tuple[Tensor, Tensor]:
    """Of a pair that was folded into its layer's weight: da and db in fp32, from the gradient of
    the layer's output and its input, by products in their precision."""
    a, b = pair.a.to(x_ND.dtype), pair.b.to(x_ND.dtype)
    low_Nr, grad_low_Nr = x_ND @ a.t(), grad_NC @ b
    da, db = (grad_low_Nr.t() @ x_ND).float(), (grad_NC.t() @ low_Nr).float()
    return da.mul_(pair.scale), db.mul_(pair.scale)
