"""Combiners that solve for the update: a point, a direction or a bargain, from the Gram matrix."""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from trivium.parts.combiners.base import NOISE, Directions, GramCombiner, living
from trivium.parts.combiners.quadratic import minimise_nonnegative
from trivium.types import Step


class MGDA(GramCombiner):
    """The shortest vector in the convex hull of the gradients (Désidéri 2012; Sener & Koltun 2018,
    equation 3). Its product with every gradient is at least its own squared length, so no task gets
    worse; it is zero where no direction helps all tasks.

    Solved exactly. Weights sum to the number of tasks T: T times the paper's. The shortest gradient
    rules: a task that is almost learnt slows all others down, and one whose gradient has vanished
    stops them. `normalize: l2` looks in the hull of the unit gradients instead, where all count the
    same; its point is multiplied by T and by the root mean square of the gradients' lengths.
    """

    kind: Literal["mgda"] = "mgda"
    normalize: Literal["none", "l2"] = "none"

    def weigh(self, gram_TT: Tensor, step: Step) -> Tensor:
        living_T = living(gram_TT)
        if self.normalize == "l2" or bool(living_T.all()):
            return super().weigh(gram_TT, step)
        weight_T = (~living_T).double()  # zero is in the hull
        return _scaled(weight_T)

    def combine(self, directions: Directions, step: Step) -> Tensor:
        norm_T = directions.norm_T
        unit = self.normalize == "l2"
        # Shares y >= 0 of the unit gradients make a point of the hull where one'y = 1. Minimising
        # y'Cy + (one'y - 1)^2 leaves their scale free and finds the same direction, as for each
        # direction the minimum over its scale rises with y'Cy at one'y = 1.
        one_T = torch.ones_like(norm_T) if unit else norm_T.min() / norm_T
        matrix_TT = directions.definite() + torch.outer(one_T, one_T)
        share_T = _scaled(minimise_nonnegative(matrix_TT, -one_T)) / norm_T
        return share_T * directions.middle if unit else _scaled(share_T)


class CAGrad(GramCombiner):
    """Conflict-averse gradient (Liu et al. 2021, algorithm 1): near the plain update, the direction
    that improves the worst-off task most: the d with |d - g_0| <= c |g_0| for which the least
    <g_t, d> is largest.

    g_0 is the sum of the gradients here, their average in the paper, and the update is d / (1 + c),
    so T / (1 + c) times the paper's: that of `sum` for c = 0, and where d can only be a longer g_0.
    Where several d are equally good (no direction helps all tasks), weights may grow to some
    thousands, of gradients that cancel.
    """

    kind: Literal["cagrad"] = "cagrad"
    c: float = Field(default=0.5, ge=0, lt=1)
    """How far d may be from the sum, as a share of the sum's length."""

    def combine(self, directions: Directions, step: Step) -> Tensor:
        cosine_TT, norm_T = directions.definite(), directions.norm_T
        overlap_T = cosine_TT @ norm_T  # of the unit gradients with g_0
        radius = self.c * math.sqrt(max(0.0, float(norm_T @ overlap_T)))
        push_T = _push_to_worst(cosine_TT, overlap_T, norm_T, radius)
        weight_T: Tensor = (1.0 + push_T / norm_T) / (1.0 + self.c)
        return weight_T


class IMTLG(GramCombiner):
    """Impartial: the update has the same projection on every task's unit gradient (IMTL-G, Liu et
    al. 2021, section 3.1; Quinton & Rey 2024 for linearly dependent gradients, where projections
    are as equal as can be). From the cosines C and the lengths n: weight_t ~ (C^+ 1)_t / n_t.

    Weights may be negative; their absolute values sum to the number of tasks T. That is T times
    the paper's where all are positive. Its own scale, weights that sum to 1, turns the update
    around or lets it explode where the sum is negative or nearly zero. Gradients that point in
    exactly opposite directions leave no update.
    """

    kind: Literal["imtl_g"] = "imtl_g"

    def combine(self, directions: Directions, step: Step) -> Tensor:
        norm_T = directions.norm_T
        inverse_TT = torch.linalg.pinv(directions.cosine_TT, rtol=NOISE, hermitian=True)
        share_T = inverse_TT.sum(1)
        if float(share_T.sum()) < NOISE:
            return torch.zeros_like(norm_T)
        weight_T = share_T * (norm_T.min() / norm_T)
        return _scaled(weight_T)


class Nash(GramCombiner):
    """The Nash bargaining solution (Nash-MTL, Navon et al. 2022, claim 3.1): weights a > 0 with
    (G a)_t = 1 / a_t, so every task contributes the same a_t <g_t, update>. It is the minimum of
    a'Ga / 2 - sum_t log a_t, which is strictly convex.

    The paper's update is always sqrt(T) long; here it is sqrt(sum_t |g_t|^2) long, as the plain sum
    of gradients at right angles would be. The products a_t (G a)_t stay equal. There is no solution
    where gradients cancel exactly; then their weights stop at some ten thousand.
    """

    kind: Literal["nash"] = "nash"

    def combine(self, directions: Directions, step: Step) -> Tensor:
        return _bargain(directions.definite()) / directions.norm_T * directions.middle


class UPGrad(GramCombiner):
    """Unconflicting projection (Quinton & Rey 2024, section 3): every task's gradient is projected
    onto the vectors that oppose no task's gradient, the dual cone; so their sum opposes none.

    The projections are summed (the paper averages them): without conflicts the update is that of
    `sum`. Each is found exactly, by their proposition 1: min v'Gv over v >= e_t.
    """

    kind: Literal["upgrad"] = "upgrad"

    def combine(self, directions: Directions, step: Step) -> Tensor:
        cosine_TT = directions.definite()
        mixed_TT = torch.eye(len(cosine_TT), dtype=torch.float64)
        for t in (directions.cosine_TT < 0).any(1).nonzero().flatten().tolist():
            mixed_TT[t] += minimise_nonnegative(cosine_TT, cosine_TT[t])
        return directions.sum_of(mixed_TT)


def _scaled(weight_T: Tensor) -> Tensor:
    """The same proportions with absolute values that sum to T."""
    scale = len(weight_T) / float(weight_T.abs().sum())
    return weight_T * scale


def _push_to_worst(cosine_TT: Tensor, overlap_T: Tensor, norm_T: Tensor, radius: float) -> Tensor:
    """What CAGrad adds to g_0, in unit gradients: push_T >= 0 of the given length.

    The shortest push that lifts every <g_t, d> to a level is a small quadratic problem, and its
    length is convex and rising in the level; so the level is found whose push is `radius` long.
    """
    gain_T = overlap_T * norm_T
    low = float(gain_T.min())
    level = high = low + radius * float(norm_T[gain_T.argmin()])
    for _ in range(100):
        push_T = minimise_nonnegative(cosine_TT, overlap_T - level / norm_T)
        length = math.sqrt(max(0.0, float(push_T @ cosine_TT @ push_T)))
        if abs(length - radius) <= 1e-7 * radius:
            return push_T
        low, high = (low, level) if length > radius else (level, high)
        level = _level_on_face(cosine_TT, overlap_T, norm_T, radius, push_T > 0)
        if not low < level < high:
            level = (low + high) / 2
    return push_T * min(1.0, radius / length)


def _level_on_face(
    cosine_TT: Tensor, overlap_T: Tensor, norm_T: Tensor, radius: float, pushed_T: Tensor
) -> float:
    """The level whose push is `radius` long if the same tasks' gradients are used; or nan.

    push = C^-1 (level / n - overlap), so its squared length is quadratic in the level.
    """
    if not bool(pushed_T.any()):
        return math.nan
    right_T2 = torch.stack([1 / norm_T[pushed_T], overlap_T[pushed_T]], 1)
    product_22 = right_T2.T @ torch.linalg.solve(cosine_TT[pushed_T][:, pushed_T], right_T2)
    square, mixed, rest = (float(product_22[i, j]) for i, j in ((0, 0), (0, 1), (1, 1)))
    root = mixed * mixed - square * (rest - radius * radius)
    return (mixed + math.sqrt(root)) / square if root >= 0 else math.nan


def _bargain(cosine_TT: Tensor) -> Tensor:
    """y > 0 with (C y)_t = 1 / y_t, by damped Newton steps on y'Cy / 2 - sum log y.

    The function is self-concordant, so steps of 1 / (1 + decrement) always lower it, by at least
    decrement - log(1 + decrement), and full steps converge quadratically near its minimum.
    """
    tasks = len(cosine_TT)
    y_T = torch.full((tasks,), math.sqrt(tasks / float(cosine_TT.sum())), dtype=torch.float64)
    for _ in range(100 * tasks):
        slope_T = cosine_TT @ y_T - 1 / y_T
        step_T = torch.linalg.solve(cosine_TT + torch.diag(y_T**-2), -slope_T)
        decrement = math.sqrt(max(0.0, float(-slope_T @ step_T)))
        y_T = y_T + step_T / (1.0 if decrement < 0.25 else 1 + decrement)
        if decrement < 1e-9:
            break
    return y_T
