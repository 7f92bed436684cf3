"""Several tasks' gradients in compiled kernels against the same in float64."""

import pytest
import torch
from torch import Tensor

from tests.support.native import kernels, threads
from trivium.model.native.surgery import gram, weighted_sums

SIZES = [1, 15, 64, 127, 4096, 3 * 4096 + 65]
"""Of the parameters: beside and beyond a vector, what is read at a time, and a block."""
TASKS = 4


def parts(*, seed: int = 0) -> list[list[Tensor | None]]:
    """Each parameter's gradients; all tasks reach the first, and one each of the others less."""
    generator = torch.Generator().manual_seed(seed)
    return [
        [
            torch.randn(size, generator=generator) if place == 0 or task != place % TASKS else None
            for task in range(TASKS)
        ]
        for place, size in enumerate(SIZES)
    ]


def stacked(parts: list[Tensor | None], size: int) -> Tensor:
    return torch.stack(
        [torch.zeros(size).double() if part is None else part.double() for part in parts]
    )


def test_inner_products_are_those_of_float64() -> None:
    given = parts()
    found_PTT = gram(kernels(), given, TASKS)
    for found_TT, each, size in zip(found_PTT, given, SIZES, strict=True):
        flat_TP = stacked(each, size)
        norm_T = flat_TP.norm(dim=1)
        apart = (found_TT - flat_TP @ flat_TP.T).abs()
        assert bool((apart <= 1e-6 * torch.outer(norm_T, norm_T)).all())
        assert torch.equal(found_TT, found_TT.T)


def test_what_nobody_reaches_has_no_inner_products() -> None:
    found_PTT = gram(kernels(), [[None, None], [torch.ones(2), None]], 2)
    assert found_PTT.tolist() == [[[0, 0], [0, 0]], [[2, 0], [0, 0]]]


def test_weighted_sums_are_those_of_float64_in_the_memory_of_the_first() -> None:
    given, weight_T = parts(), torch.tensor([0.5, -2.0, 1.0, 3.0], dtype=torch.float64)
    wanted = [weight_T @ stacked(each, size) for each, size in zip(given, SIZES, strict=True)]
    firsts = [next(part for part in each if part is not None) for each in given]
    found = weighted_sums(kernels(), given, weight_T)
    for one, right, first in zip(found, wanted, firsts, strict=True):
        torch.testing.assert_close(one.double(), right, rtol=1e-6, atol=2e-6)
        assert one is first


def test_a_task_alone_keeps_its_gradient() -> None:
    one = torch.randn(100)
    (found,) = weighted_sums(kernels(), [[None, one.clone()]], torch.tensor([0.3, 1.0]))
    assert torch.equal(found, one)


@pytest.mark.parametrize("number", [1, 2])
def test_no_bit_depends_on_the_number_of_threads(number: int) -> None:
    with threads(3):
        right_PTT, right = gram(kernels(), parts(), TASKS), summed()
    with threads(number):
        assert torch.equal(gram(kernels(), parts(), TASKS), right_PTT)
        assert all(torch.equal(*both) for both in zip(summed(), right, strict=True))


def summed() -> list[Tensor]:
    return weighted_sums(kernels(), parts(), torch.tensor([0.1, 0.2, 0.3, -0.4]))
