"""The one optimisation problem that several combiners share, solved exactly."""

import torch
from torch import Tensor

_ROUNDING = 1e-13


def minimise_nonnegative(matrix_TT: Tensor, slope_T: Tensor) -> Tensor:
    """The x >= 0 that minimises x'Mx / 2 + slope'x, for a positive definite M (float64).

    Active sets as in non-negative least squares (Lawson & Hanson 1974, chapter 23): free the
    variable in whose direction the objective falls most, solve for the free ones, and where that
    would make some negative, stop at the first to reach zero and bind it.
    """
    x_T = torch.zeros_like(slope_T)
    free_T = torch.zeros_like(slope_T, dtype=torch.bool)
    for _ in range(10 * len(slope_T)):  # each round lowers the objective; 2 T rounds are many
        fall_T = -(matrix_TT @ x_T + slope_T)
        noise_T = _ROUNDING * (matrix_TT.abs() @ x_T + slope_T.abs())
        fall_T[free_T | (fall_T <= noise_T)] = 0.0
        if not bool(fall_T.any()):
            break
        free_T[fall_T.argmax()] = True
        x_T = _solve_free(matrix_TT, slope_T, x_T, free_T)
        free_T = x_T > 0
    return x_T


def _solve_free(matrix_TT: Tensor, slope_T: Tensor, x_T: Tensor, free_T: Tensor) -> Tensor:
    free_T = free_T.clone()
    while bool(free_T.any()):
        best_T = torch.zeros_like(x_T)
        best_T[free_T] = torch.linalg.solve(matrix_TT[free_T][:, free_T], -slope_T[free_T])
        barred_T = free_T & (best_T <= 0)
        if not bool(barred_T.any()):
            return best_T
        way_T = (x_T - best_T).clamp_min(torch.finfo(x_T.dtype).tiny)
        share_T = torch.where(barred_T, x_T / way_T, torch.inf)
        first = int(share_T.argmin())
        x_T = torch.where(free_T, x_T + share_T[first] * (best_T - x_T), 0.0).clamp_min(0.0)
        x_T[first] = 0.0
        free_T = free_T & (x_T > 0)
    return x_T
