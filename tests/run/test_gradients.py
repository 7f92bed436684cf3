"""Combining gradients kept as lists against the same on one flat vector per task."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from tests.support.native import switched
from trivium.run.training.gradients import (
    add_gradient,
    cosines,
    gram_by_group,
    gram_by_parameter,
    set_weighted_sum,
    take_gradient,
)

SHAPES = [(4, 3), (5,), (), (2, 2, 2)]
TASKS = ["a", "b", "c"]

# Which of the four parameters each task reaches.
REACHES = {
    "all": [(1, 1, 1, 1), (1, 1, 1, 1), (1, 1, 1, 1)],
    "some": [(1, 0, 1, 1), (1, 1, 0, 1), (0, 0, 1, 1)],
    "apart": [(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 0, 0)],
}
reaches = pytest.mark.parametrize("reach", REACHES.values(), ids=REACHES.keys())
Reach = list[tuple[int, ...]]


@pytest.fixture(autouse=True, params=["0", "1"], ids=["torch", "kernels"])
def _computed(request: pytest.FixtureRequest) -> Iterator[None]:
    """In PyTorch, and in compiled kernels where this machine has them."""
    with switched(request.param):
        yield


def gradients(reach: Reach, seed: int = 0) -> dict[str, list[Tensor | None]]:
    torch.manual_seed(seed)
    return {
        task: [
            torch.randn(shape) if there else None for shape, there in zip(SHAPES, row, strict=True)
        ]
        for task, row in zip(TASKS, reach, strict=True)
    }


def flat(parts: list[Tensor | None]) -> Tensor:
    """One vector in which a parameter that is not reached is zero."""
    filled = [
        torch.zeros(shape) if part is None else part
        for part, shape in zip(parts, SHAPES, strict=True)
    ]
    return torch.cat([part.flatten() for part in filled]).double()


def parameters() -> list[nn.Parameter]:
    return [nn.Parameter(torch.zeros(shape)) for shape in SHAPES]


def gram_matrix(gradients: list[list[Tensor | None]]) -> Tensor:
    """gram_TT of the tasks' whole gradients."""
    return gram_by_parameter(gradients).sum(0)


@reaches
def test_gram_matrix_is_that_of_the_flat_gradients(reach: Reach) -> None:
    each = gradients(reach)
    flat_TP = torch.stack([flat(parts) for parts in each.values()])
    gram_TT = gram_matrix(list(each.values()))
    assert gram_TT.dtype == torch.float64
    torch.testing.assert_close(gram_TT, flat_TP @ flat_TP.T, rtol=1e-6, atol=1e-6)
    assert torch.equal(gram_TT, gram_TT.T)


@reaches
def test_gram_matrices_of_groups_of_parameters_add_up_to_the_whole(reach: Reach) -> None:
    each = list(gradients(reach).values())
    groups = gram_by_group(gram_by_parameter(each), ["low", "high", "low", "high"])
    assert list(groups) == ["low", "high"]
    torch.testing.assert_close(groups["low"] + groups["high"], gram_matrix(each))
    low = gram_matrix([[parts[0], parts[2]] for parts in each])
    torch.testing.assert_close(groups["low"], low)


def test_gram_matrix_of_one_task_is_its_squared_norm() -> None:
    assert gram_matrix([[torch.tensor([3.0, 4.0]), None]]).tolist() == [[25.0]]


@reaches
def test_weighted_sum_is_that_of_the_flat_gradients(reach: Reach) -> None:
    each, weight_T = gradients(reach), torch.tensor([0.5, -2.0, 3.0], dtype=torch.float64)
    wanted_P = weight_T @ torch.stack([flat(parts) for parts in each.values()])
    shared = parameters()
    set_weighted_sum(shared, each, weight_T)
    found = [parameter.grad for parameter in shared]
    torch.testing.assert_close(flat(found), wanted_P, rtol=1e-5, atol=1e-6)
    for gradient, there in zip(found, zip(*reach, strict=True), strict=True):
        assert (gradient is not None) == any(there)


def test_weights_of_one_give_what_one_backward_of_the_sum_gives() -> None:
    torch.manual_seed(0)
    shared, x = parameters(), torch.randn(4, 3)
    losses = [(shared[0] * x).sum().square(), (shared[1] + 1).square().sum(), shared[2] * 2]
    torch.autograd.backward(losses[0] + losses[1] + losses[2], retain_graph=True)
    wanted = take_gradient(shared)
    each = {}
    for task, loss in zip(TASKS, losses, strict=True):
        torch.autograd.backward(loss)
        each[task] = take_gradient(shared)
    set_weighted_sum(shared, each, torch.ones(3))
    torch.testing.assert_close(take_gradient(shared), wanted)


def test_taking_a_gradient_leaves_room_for_the_next() -> None:
    shared = parameters()
    shared[1].grad = torch.ones(5)
    taken = take_gradient(shared)
    assert [part is None for part in taken] == [True, False, True, True]
    assert all(parameter.grad is None for parameter in shared)


@reaches
def test_batches_of_a_task_add_up(reach: Reach) -> None:
    totals: dict[str, list[Tensor | None]] = {}
    wanted_P = torch.zeros_like(flat([None] * len(SHAPES)))
    for parts in gradients(reach).values():
        wanted_P = wanted_P + flat(parts)
        add_gradient(totals, "one", parts)
    add_gradient(totals, "other", [None] * len(SHAPES))
    torch.testing.assert_close(flat(totals["one"]), wanted_P, rtol=1e-5, atol=1e-6)
    assert totals["other"] == [None] * len(SHAPES)


def test_cosines_by_hand() -> None:
    gram_TT = torch.tensor([[4.0, 2.0, 0.0], [2.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
    found = cosines(gram_TT, TASKS)
    assert found == {"a|b": pytest.approx(math.sqrt(0.5)), "a|c": 0.0, "b|c": 0.0}


# --- sparse ones --------------------------------------------------------------------------------


def by_rows(seed: int, *, whole: bool = False) -> Tensor:
    """A gradient of a matrix of 9 rows, of which it reaches some, one of them twice."""
    torch.manual_seed(seed)
    rows = torch.randperm(9)[:4]
    found = torch.sparse_coo_tensor(
        torch.cat([rows, rows[:1]])[None], torch.randn(5, 3), (9, 3), check_invariants=True
    )
    return found.to_dense() if whole else found


KINDS = [(False, False, False), (True, False, False), (False, True, False), (False, False, True)]


@pytest.mark.parametrize("kinds", KINDS)
def test_sparse_gradients_are_combined_as_what_they_stand_for(kinds: tuple[bool, ...]) -> None:
    mixed = [[by_rows(seed, whole=whole)] for seed, whole in enumerate(kinds)]
    whole = [[by_rows(seed, whole=True)] for seed in range(3)]
    torch.testing.assert_close(
        gram_by_parameter(mixed), gram_by_parameter(whole), rtol=1e-5, atol=1e-6
    )

    found, expected = (nn.Parameter(torch.zeros(9, 3)) for _ in range(2))
    weight_T = torch.tensor([0.5, 1.0, -2.0])
    set_weighted_sum([found], dict(zip(TASKS, mixed, strict=True)), weight_T)
    set_weighted_sum([expected], dict(zip(TASKS, whole, strict=True)), weight_T)
    assert found.grad is not None
    assert expected.grad is not None
    assert found.grad.is_sparse is not any(kinds)
    torch.testing.assert_close(found.grad.to_dense(), expected.grad)


@pytest.mark.parametrize("kinds", KINDS)
def test_batches_of_a_task_add_up_whether_sparse_or_not(kinds: tuple[bool, ...]) -> None:
    totals: dict[str, list[Tensor | None]] = {}
    for seed, whole in enumerate(kinds):
        add_gradient(totals, "a", [by_rows(seed, whole=whole)])
    expected = sum(by_rows(seed, whole=True) for seed in range(3))
    (total,) = totals["a"]
    assert total is not None
    torch.testing.assert_close(total.to_dense(), expected)
