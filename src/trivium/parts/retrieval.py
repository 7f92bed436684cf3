"""How well vectors find what belongs together, and how they are spread. Inputs: CPU tensors."""

import math

import torch
from torch import Tensor

AT_ONCE = 512
"""Rows that are compared with all others at a time."""


def retrieval(unit_B2C: Tensor, text_B2: Tensor) -> dict[str, float]:
    """accuracy_at_1: the share of rows whose first text is nearer to its second one than to every
    other row's; mrr: the mean of 1 / its rank (mean reciprocal rank). By cosine.

    unit_B2C: vectors of length 1; text_B2: numbers that are the same for the same text. Second
    texts that stand in several rows are one, a row's own first text is none, and what belongs to
    the same first text is not counted as wrong. What is exactly as near as the right one stands
    before it: vectors that are all alike find nothing.
    """
    first_BC, second_BC = unit_B2C.float().unbind(1)
    first_B, second_B = text_B2.unbind(1)
    text_U, place_B = torch.unique(second_B, return_inverse=True)
    kept_U = torch.empty_like(text_U)
    rows_B = torch.arange(len(second_B))
    kept_U[place_B.flip(0)] = rows_B.flip(0)  # the first row that has it
    ranks = []
    for some in torch.split(rows_B, AT_ONCE):
        cosine_SU = first_BC[some] @ second_BC[kept_U].T
        own_S1 = cosine_SU.gather(1, place_B[some, None])
        alike_SB = (first_B[some, None] == first_B).float()
        belongs_SU = torch.zeros_like(cosine_SU).index_add_(1, place_B, alike_SB) > 0
        wrong_SU = ~belongs_SU & (text_U != first_B[some, None])
        ranks.append(1 + ((cosine_SU >= own_S1) & wrong_SU).sum(1))
    rank_B = torch.cat(ranks).double()
    return {
        "accuracy_at_1": float((rank_B == 1).double().mean()),
        "mrr": float((1 / rank_B).mean()),
    }


def uniformity(unit_BC: Tensor) -> float:
    """-log of the mean of exp(-2 |u - v|^2) over pairs of rows (Wang & Isola 2020, section 4.2,
    whose sign is turned: higher is more even): 0 where all vectors are alike, at most 8."""
    unit_BC, rows = unit_BC.float(), len(unit_BC)
    if rows < 2:
        return 0.0
    total = math.fsum(
        float((4.0 * (part_SC @ unit_BC.T - 1.0)).exp().double().sum())
        for part_SC in torch.split(unit_BC, AT_ONCE)
    )
    mean = max(total - rows, 0.0) / (rows * (rows - 1))  # |u - u| is 0
    return -math.log(max(mean, 1e-30))
