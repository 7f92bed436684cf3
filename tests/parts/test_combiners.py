"""Combiners: agreement with torchjd and with sequential definitions, properties, hand examples.

Gradients are rows: gradient_TP. torchjd averages where ours sums, hence the factors T.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise, permutations
from typing import Any, cast, get_args
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import load, save
from torch import Tensor
from torchjd import scalarization
from torchjd._linalg import QuadprogProjector
from torchjd.aggregation import (
    CAGradWeighting,
    GradVacWeighting,
    IMTLGWeighting,
    MGDAWeighting,
    NashMTL,
    PCGradWeighting,
    UPGradWeighting,
)
from torchjd.linalg import PSDMatrix

from trivium.parts.combiners import (
    DWA,
    IMTLG,
    MGDA,
    CAGrad,
    Combiner,
    CombinerPart,
    GradNorm,
    GradVac,
    Nash,
    PCGrad,
    Sum,
    Uncertainty,
    UPGrad,
)
from trivium.parts.combiners.quadratic import minimise_nonnegative
from trivium.types import Step

SURGEONS: list[CombinerPart] = [PCGrad(), GradVac()]
SOLVERS: list[CombinerPart] = [
    MGDA(), MGDA(normalize="l2"), CAGrad(), IMTLG(), Nash(), UPGrad(),
]  # fmt: skip
WEIGHTINGS: list[CombinerPart] = [Sum(), Uncertainty(), DWA(), GradNorm()]
EVERY = SURGEONS + SOLVERS + WEIGHTINGS
SEEDS = range(12)


def named(part: CombinerPart) -> str:
    return f"{cast(Any, part).kind}-{getattr(part, 'normalize', '')}".rstrip("-")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def step(
    tasks: Sequence[str] | int,
    memory: dict[str, Tensor] | None = None,
    seed: int = 0,
    index: int = 0,
    epoch: int = 1,
) -> Step:
    names = [f"task{t}" for t in range(tasks)] if isinstance(tasks, int) else tasks
    kept = {} if memory is None else memory
    return Step(index, 1000, epoch, 10, seeded(seed), kept, tuple(names))


def random(tasks: int, parameters: int = 9, seed: int = 0) -> Tensor:
    """Gradients of different lengths, most of them in conflict with some other."""
    generator = seeded(seed)
    gradient_TP = torch.randn(tasks, parameters, generator=generator, dtype=torch.float64)
    return gradient_TP * (0.2 + 3 * torch.rand(tasks, 1, generator=generator, dtype=torch.float64))


def gram(gradient_TP: Tensor) -> PSDMatrix:
    return cast(PSDMatrix, gradient_TP @ gradient_TP.T)


def weigh(part: CombinerPart, gradient_TP: Tensor, seed: int = 0) -> Tensor:
    return part.weigh(gram(gradient_TP), step(len(gradient_TP), seed=seed))


def update(part: CombinerPart, gradient_TP: Tensor) -> Tensor:
    return weigh(part, gradient_TP) @ gradient_TP


@contextmanager
def orders(*given: list[int]) -> Iterator[None]:
    """Have torch.randperm give these, one a call."""
    with mock.patch("torch.randperm", side_effect=[torch.tensor(order) for order in given]):
        yield


def drawn_orders(tasks: int, seed: int) -> list[list[int]]:
    """For each task, the order in which it visits the others."""
    generator = seeded(seed)
    drawn = [torch.randperm(tasks, generator=generator).tolist() for _ in range(tasks)]
    return [[j for j in order if j != i] for i, order in enumerate(drawn)]


# --- the family -----------------------------------------------------------------------------------


def test_every_combiner_can_be_named_in_a_recipe() -> None:
    adapter: TypeAdapter[CombinerPart] = TypeAdapter(Combiner)
    kinds = [cast(Any, part).kind for part in EVERY if named(part) != "mgda-l2"]
    assert [type(adapter.validate_python({"kind": kind})).__name__ for kind in kinds] == [
        type(part).__name__ for part in EVERY if named(part) != "mgda-l2"
    ]
    assert len(get_args(get_args(Combiner)[0])) == len(kinds)
    with pytest.raises(ValidationError, match="pcgard"):
        adapter.validate_python({"kind": "pcgard"})


@pytest.mark.parametrize(
    ("kind", "setting", "value"),
    [
        ("cagrad", "c", 1.0), ("cagrad", "c", -0.1), ("gradvac", "beta", 1.1),
        ("dwa", "temperature", 0), ("dwa", "every", 0), ("uncertainty", "lr", 0),
        ("gradnorm", "alpha", -1), ("gradnorm", "lr", 0),
        ("mgda", "normalize", "l1"), ("pcgrad", "reduction", "mean"),
    ],
)  # fmt: skip
def test_a_setting_out_of_bounds_is_refused(kind: str, setting: str, value: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Combiner).validate_python({"kind": kind, setting: value})


def test_only_the_methods_on_gradients_need_the_gram_matrix() -> None:
    assert all(part.needs_gram for part in SURGEONS + SOLVERS)
    assert [part for part in WEIGHTINGS if part.needs_gram] == [GradNorm()]
    assert [part.factor("task0", step(1)) for part in EVERY] == [1.0] * len(EVERY)


@pytest.mark.parametrize("part", EVERY, ids=named)
@pytest.mark.parametrize("tasks", [1, 2, 3, 20])
def test_equally_long_gradients_at_right_angles_are_summed(part: CombinerPart, tasks: int) -> None:
    gradient_TP = 3.0 * torch.eye(tasks, dtype=torch.float64)
    torch.testing.assert_close(weigh(part, gradient_TP), torch.ones(tasks, dtype=torch.float64))


@pytest.mark.parametrize("part", EVERY, ids=named)
@pytest.mark.parametrize("square", [0.0, 1e-20, 4.0, 1e10, math.inf, math.nan])
def test_a_task_alone_keeps_its_gradient(part: CombinerPart, square: float) -> None:
    assert part.weigh(torch.tensor([[square]], dtype=torch.float64), step(1)).tolist() == [1.0]


@st.composite
def gradients(draw: st.DrawFn, tasks: int = 6) -> Tensor:
    """Few parameters and small whole numbers: zero, equal, opposite and dependent gradients."""
    rows = draw(st.integers(1, tasks))
    columns = draw(st.integers(1, 5))
    numbers = st.lists(st.integers(-3, 3), min_size=columns, max_size=columns)
    matrix = draw(st.lists(numbers, min_size=rows, max_size=rows))
    powers = draw(st.lists(st.integers(-10, 5), min_size=rows, max_size=rows))
    scale_T1 = 10.0 ** torch.tensor(powers, dtype=torch.float64)[:, None]
    return torch.tensor(matrix, dtype=torch.float64) * scale_T1


@pytest.mark.parametrize("part", EVERY, ids=named)
@settings(max_examples=60, deadline=None)
@given(gradient_TP=gradients())
def test_weights_are_finite_for_any_gradients(part: CombinerPart, gradient_TP: Tensor) -> None:
    weight_T = weigh(part, gradient_TP)
    assert weight_T.shape == (len(gradient_TP),)
    assert bool(weight_T.isfinite().all())
    assert weight_T.dtype == torch.float64
    assert float((weight_T[:, None] * gradient_TP).abs().max()) <= 1e6 * (
        float(gradient_TP.abs().max()) or 1.0
    )


@pytest.mark.parametrize("part", EVERY, ids=named)
@pytest.mark.parametrize("seed", range(3))
def test_a_gram_matrix_with_rounding_errors_gets_finite_weights(
    part: CombinerPart, seed: int
) -> None:
    gradient_TP = random(20, 6, seed)
    noise_TT = torch.randn(20, 20, generator=seeded(seed), dtype=torch.float64)
    gram_TT = gram(gradient_TP) + 1e-6 * (noise_TT + noise_TT.T)
    assert float(torch.linalg.eigvalsh(gram_TT)[0]) < -1e-7
    weight_T = part.weigh(gram_TT, step(20))
    assert bool(weight_T.isfinite().all())
    assert float(weight_T.abs().max()) < 1e5


@pytest.mark.parametrize("part", EVERY, ids=named)
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_gradients_that_are_not_finite_are_summed(part: CombinerPart, value: float) -> None:
    gram_TT = torch.eye(3, dtype=torch.float64)
    gram_TT[0, 1] = gram_TT[1, 0] = value
    assert part.weigh(gram_TT, step(3)).tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("part", SURGEONS + SOLVERS, ids=named)
@pytest.mark.parametrize("scale", [1e-20, 1e-3, 1e10])
def test_the_scale_of_all_gradients_together_does_not_matter(
    part: CombinerPart, scale: float
) -> None:
    gram_TT = gram(random(4))
    torch.testing.assert_close(
        part.weigh(scale * gram_TT, step(4)), part.weigh(gram_TT, step(4)), rtol=1e-7, atol=1e-9
    )


@pytest.mark.parametrize("part", SOLVERS, ids=named)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_order_of_the_tasks_does_not_matter(part: CombinerPart, seed: int) -> None:
    gradient_TP = random(5, seed=seed)
    order = torch.randperm(5, generator=seeded(seed))
    torch.testing.assert_close(
        weigh(part, gradient_TP[order]), weigh(part, gradient_TP)[order], rtol=1e-6, atol=1e-8
    )


@pytest.mark.parametrize("part", [*SURGEONS, *SOLVERS[1:]], ids=named)
def test_a_vanished_gradient_has_no_say(part: CombinerPart) -> None:
    gradient_TP = random(3)
    with_zero_TP = torch.cat([gradient_TP[:1], torch.zeros(1, 9).double(), gradient_TP[1:]])
    memory: dict[str, Tensor] = {}
    names = ["task0", "vanished", "task1", "task2"]
    with orders(*[[0, 1, 2]] * 3):
        found_T = part.weigh(gram(with_zero_TP), step(names, memory))
    with orders(*[[0, 1, 2]] * 3):
        expected_T = weigh(part, gradient_TP)
    torch.testing.assert_close(found_T[[0, 2, 3]], expected_T)
    assert found_T[1] == 1.0
    assert not any("vanished" in key for key in memory)


# --- surgery --------------------------------------------------------------------------------------


def test_a_conflicting_gradient_loses_its_opposing_part_and_the_results_are_summed() -> None:
    gradient_TP = torch.tensor([[1.0, 0.0], [-1.0, 1.0]], dtype=torch.float64)
    # <g1, g2> = -1: g1 becomes g1 + g2 / 2 = (0.5, 0.5), g2 becomes g2 + g1 = (0, 1).
    weight_T = weigh(PCGrad(), gradient_TP)
    assert weight_T.tolist() == pytest.approx([2.0, 1.5], abs=1e-15)
    assert (weight_T @ gradient_TP).tolist() == pytest.approx([0.5, 1.5], abs=1e-15)


def sequential_pcgrad(gradient_TP: Tensor, orders: Sequence[Sequence[int]]) -> Tensor:
    """Yu et al. 2020, algorithm 1, on the vectors themselves."""
    total_P = torch.zeros_like(gradient_TP[0])
    for i, order in enumerate(orders):
        changed_P = gradient_TP[i].clone()
        for j in order:
            overlap = torch.dot(changed_P, gradient_TP[j])
            if overlap < 0:
                changed_P -= overlap / gradient_TP[j].square().sum() * gradient_TP[j]
        total_P += changed_P
    return total_P


@pytest.mark.parametrize("tasks", [2, 3, 5, 8])
@pytest.mark.parametrize("seed", SEEDS)
def test_pcgrad_from_the_gram_matrix_is_pcgrad_on_the_vectors(tasks: int, seed: int) -> None:
    gradient_TP = random(tasks, seed=seed)
    expected_P = sequential_pcgrad(gradient_TP, drawn_orders(tasks, seed))
    torch.testing.assert_close(weigh(PCGrad(), gradient_TP, seed) @ gradient_TP, expected_P)


@pytest.mark.parametrize("tasks", [2, 4])
@pytest.mark.parametrize("seed", SEEDS)
def test_pcgrad_agrees_with_torchjd(tasks: int, seed: int) -> None:
    gradient_TP = random(tasks, seed=seed)
    with orders(*drawn_orders(tasks, seed)):
        expected_T = PCGradWeighting()(gram(gradient_TP))
    torch.testing.assert_close(weigh(PCGrad(), gradient_TP, seed), expected_T)


def test_every_order_of_visits_is_drawn() -> None:
    gradient_TP = torch.tensor([[1.0, 0.0], [-1.0, 0.5], [-0.6, -1.0]], dtype=torch.float64)
    possible = {
        tuple(sequential_pcgrad(gradient_TP, [first, second, third]).mul(1e6).round().tolist())
        for first in permutations([1, 2])
        for second in permutations([0, 2])
        for third in permutations([0, 1])
    }
    found = {
        tuple((weigh(PCGrad(), gradient_TP, seed) @ gradient_TP).mul(1e6).round().tolist())
        for seed in range(200)
    }
    assert len(possible) > 2
    assert found == possible


@pytest.mark.parametrize("part", [PCGrad(), UPGrad()], ids=named)
@settings(max_examples=50, deadline=None)
@given(gradient_TP=gradients())
def test_without_conflict_the_update_is_the_sum(part: CombinerPart, gradient_TP: Tensor) -> None:
    assert weigh(part, gradient_TP.abs()).tolist() == [1.0] * len(gradient_TP)


@pytest.mark.parametrize("part", [PCGrad(), UPGrad()], ids=named)
@settings(max_examples=50, deadline=None)
@given(gradient_TP=gradients(tasks=2))
def test_of_two_tasks_neither_is_opposed(part: CombinerPart, gradient_TP: Tensor) -> None:
    update_P = update(part, gradient_TP)
    product_T = gradient_TP @ update_P
    length_T = torch.linalg.norm(gradient_TP, dim=1)
    assert bool((product_T >= -1e-7 * length_T * length_T.max()).all())


def test_gradvac_begins_as_pcgrad() -> None:
    for seed in SEEDS:
        gradient_TP = random(4, seed=seed)
        torch.testing.assert_close(
            weigh(GradVac(beta=0.0), gradient_TP, seed), weigh(PCGrad(), gradient_TP, seed)
        )


def test_gradvac_raises_a_cosine_to_its_goal() -> None:
    gradient_TP = random(2, seed=3)
    names = ["a", "b"]
    memory = {
        "gradvac.a|b": torch.tensor(0.7).double(),
        "gradvac.b|a": torch.tensor(-0.999).double(),
    }
    weight_T = GradVac().weigh(gram(gradient_TP), step(names, memory))
    assert weight_T[0] == 1.0  # the goal of b is below: only a has changed
    changed_P = gradient_TP[0] + (weight_T[1] - 1) * gradient_TP[1]
    assert float(torch.cosine_similarity(changed_P, gradient_TP[1], 0)) == pytest.approx(0.7)
    cosine = float(torch.cosine_similarity(gradient_TP[0], gradient_TP[1], 0))
    assert cosine < 0.7
    assert float(memory["gradvac.a|b"]) == pytest.approx(0.99 * 0.7 + 0.01 * cosine)
    assert float(memory["gradvac.b|a"]) == pytest.approx(-0.99 * 0.999 + 0.01 * cosine)


@pytest.mark.parametrize("tasks", [2, 4])
@pytest.mark.parametrize("beta", [0.01, 0.5])
def test_gradvac_agrees_with_torchjd_step_after_step(tasks: int, beta: float) -> None:
    oracle, part = GradVacWeighting(beta=beta, eps=0.0), GradVac(beta=beta)
    common_P = random(1, seed=99)[0]
    memory: dict[str, Tensor] = {}
    for seed in range(25):
        gradient_TP = random(tasks, seed=seed) + common_P
        places = [  # torchjd permutes the places among the others
            [[j for j in range(tasks) if j != i].index(j) for j in order]
            for i, order in enumerate(drawn_orders(tasks, seed))
        ]
        with orders(*places):
            expected_T = oracle(gram(gradient_TP))
        found_T = part.weigh(gram(gradient_TP), step(tasks, memory, seed))
        torch.testing.assert_close(found_T, expected_T)
    assert max(float(goal) for goal in memory.values()) > 0.1


def test_gradvac_remembers_tasks_by_name_when_a_step_draws_some_of_them() -> None:
    gradient_TP, memory = random(3), dict[str, Tensor]()
    part = GradVac(beta=0.5)
    part.weigh(gram(gradient_TP), step(["a", "b", "c"], memory))
    before = {key: float(value) for key, value in memory.items()}
    part.weigh(gram(gradient_TP[[2, 0]]), step(["c", "a"], memory))
    changed = {key for key, value in memory.items() if float(value) != before[key]}
    assert len(before) == 6
    assert changed == {"gradvac.a|c", "gradvac.c|a"}


def test_a_goal_near_one_leaves_weights_moderate() -> None:
    memory = {f"gradvac.{pair}": torch.tensor(1.0).double() for pair in ("a|b", "b|a")}
    gram_TT = torch.eye(2, dtype=torch.float64)
    assert float(GradVac().weigh(gram_TT, step(["a", "b"], memory)).max()) < 12


# --- solvers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_the_minimum_over_nonnegative_numbers_meets_its_conditions(seed: int) -> None:
    basis_TT = random(9, 9, seed)
    matrix_TT, slope_T = gram(basis_TT), random(1, 9, seed + 100)[0]
    x_T = minimise_nonnegative(matrix_TT, slope_T)
    rise_T = matrix_TT @ x_T + slope_T
    assert bool((x_T >= 0).all())
    assert float(rise_T.min()) > -1e-9
    assert float((rise_T * x_T).abs().max()) < 1e-8
    assert 0 < int((x_T > 0).sum()) < 9


@pytest.mark.parametrize("seed", SEEDS)
def test_mgda_of_two_is_the_closed_form(seed: int) -> None:
    first_P, second_P = gradient_TP = random(2, 4, seed)
    apart_P = first_P - second_P
    share = float(((second_P - first_P) @ second_P / apart_P.square().sum()).clamp(0, 1))
    assert weigh(MGDA(), gradient_TP).tolist() == pytest.approx([2 * share, 2 - 2 * share])


@pytest.mark.parametrize("tasks", [2, 3, 6])
@pytest.mark.parametrize("seed", range(5))
def test_mgda_is_as_short_as_torchjd_finds_and_improves_every_task(tasks: int, seed: int) -> None:
    gradient_TP = random(tasks, seed=seed)
    weight_T = weigh(MGDA(), gradient_TP) / tasks
    assert float(weight_T.sum()) == pytest.approx(1)
    assert bool((weight_T >= 0).all())
    point_P = weight_T @ gradient_TP
    square = float(point_P @ point_P)
    other_T = MGDAWeighting(epsilon=1e-9, max_iters=2000)(gram(gradient_TP))
    assert square <= float((other_T @ gradient_TP).square().sum()) + 1e-12
    torch.testing.assert_close(point_P, other_T @ gradient_TP, rtol=0.01, atol=0.01)
    # The shortest point p of a hull, and it alone, has <p, g_t> >= |p|^2 for every t.
    assert float((gradient_TP @ point_P).min()) >= square - 1e-9


@settings(max_examples=80, deadline=None)
@given(gradient_TP=gradients())
@pytest.mark.parametrize("part", SOLVERS[:2], ids=named)
def test_mgda_opposes_no_task(part: CombinerPart, gradient_TP: Tensor) -> None:
    update_P = update(part, gradient_TP)
    length_T = torch.linalg.norm(gradient_TP, dim=1)
    size = float((weigh(part, gradient_TP)[:, None] * gradient_TP).abs().max())
    assert bool((gradient_TP @ update_P >= -1e-6 * length_T * size).all())


def test_mgda_stops_where_a_gradient_has_vanished() -> None:
    gradient_TP = torch.tensor([[1.0, 2.0], [0.0, 0.0], [3.0, -1.0]], dtype=torch.float64)
    assert weigh(MGDA(), gradient_TP).tolist() == [0.0, 3.0, 0.0]


@pytest.mark.parametrize("seed", SEEDS)
def test_normalised_mgda_sees_directions_only(seed: int) -> None:
    gradient_TP = random(4, seed=seed)
    length_T = torch.linalg.norm(gradient_TP, dim=1)
    unit_TP = gradient_TP / length_T[:, None]
    torch.testing.assert_close(
        update(MGDA(normalize="l2"), gradient_TP),
        update(MGDA(), unit_TP) * length_T.square().mean().sqrt(),
    )


@pytest.mark.parametrize("tasks", [2, 3, 6])
@pytest.mark.parametrize("seed", range(6))
def test_cagrad_agrees_with_torchjd(tasks: int, seed: int) -> None:
    gradient_TP = random(tasks, seed=seed)
    with warnings.catch_warnings():  # of its solver
        warnings.simplefilter("ignore")
        expected_T = tasks / 1.4 * CAGradWeighting(c=0.4, norm_eps=0.0)(gram(gradient_TP))
    found_T = weigh(CAGrad(c=0.4), gradient_TP)
    torch.testing.assert_close(found_T, expected_T, rtol=2e-3, atol=2e-3)
    worst = float((gradient_TP @ (found_T @ gradient_TP)).min())
    theirs = float((gradient_TP @ (expected_T @ gradient_TP)).min())
    assert worst >= theirs - 1e-5 * abs(theirs)


@pytest.mark.parametrize("c", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("seed", SEEDS)
def test_no_direction_near_the_sum_is_better_for_the_worst_task(c: float, seed: int) -> None:
    gradient_TP = random(4, 5, seed)
    sum_P, found_P = gradient_TP.sum(0), (1 + c) * update(CAGrad(c=c), gradient_TP)
    radius = c * torch.linalg.norm(sum_P)
    assert float(torch.linalg.norm(found_P - sum_P)) <= float(radius) * (1 + 1e-6)
    ways_MP = torch.randn(2000, 5, generator=seeded(seed), dtype=torch.float64)
    ways_MP = radius * ways_MP / torch.linalg.norm(ways_MP, dim=1, keepdim=True)
    others_MP = torch.cat([sum_P + ways_MP, found_P + 0.01 * ways_MP, sum_P[None]])
    near = torch.linalg.norm(others_MP - sum_P, dim=1) <= radius
    best = (others_MP[near] @ gradient_TP.T).min(1).values.max()
    assert float((gradient_TP @ found_P).min()) >= float(best)


@settings(max_examples=30, deadline=None)
@given(gradient_TP=gradients())
def test_cagrad_without_room_is_the_sum(gradient_TP: Tensor) -> None:
    assert weigh(CAGrad(c=0.0), gradient_TP).tolist() == [1.0] * len(gradient_TP)


@pytest.mark.parametrize("tasks", [2, 3, 6])
@pytest.mark.parametrize("seed", SEEDS)
def test_imtl_g_projects_equally_on_every_unit_gradient(tasks: int, seed: int) -> None:
    gradient_TP = random(tasks, seed=seed)
    weight_T = weigh(IMTLG(), gradient_TP)
    projection_T = gradient_TP @ (weight_T @ gradient_TP) / torch.linalg.norm(gradient_TP, dim=1)
    torch.testing.assert_close(projection_T, projection_T[:1].expand(tasks))
    assert float(projection_T[0]) > 0
    assert float(weight_T.abs().sum()) == pytest.approx(tasks)
    expected_T = IMTLGWeighting()(gram(gradient_TP))
    torch.testing.assert_close(weight_T / weight_T.sum(), expected_T)


def test_imtl_g_goes_downhill_where_the_papers_weights_turn_around() -> None:
    gradient_TP = torch.tensor(
        [[10.0, 0.0, 0.0], [0.0, 10.0, 0.0], [0.06, 0.06, 0.02]], dtype=torch.float64
    )
    paper_T = IMTLGWeighting()(gram(gradient_TP))
    assert float((gradient_TP @ (paper_T @ gradient_TP)).max()) < 0
    assert float((gradient_TP @ update(IMTLG(), gradient_TP)).min()) > 0


def test_imtl_g_makes_no_update_of_opposite_gradients() -> None:
    gradient_TP = torch.tensor([[1.0, 2.0], [-3.0, -6.0]], dtype=torch.float64)
    assert weigh(IMTLG(), gradient_TP).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("tasks", [2, 3, 6, 20])
@pytest.mark.parametrize("seed", SEEDS)
def test_every_task_contributes_the_same_to_the_nash_bargain(tasks: int, seed: int) -> None:
    gradient_TP = random(tasks, 30, seed)
    weight_T = weigh(Nash(), gradient_TP)
    update_P = weight_T @ gradient_TP
    part_T = weight_T * (gradient_TP @ update_P)
    assert bool((weight_T > 0).all())
    torch.testing.assert_close(part_T, part_T[:1].expand(tasks))
    assert float(update_P.square().sum()) == pytest.approx(float(gradient_TP.square().sum()))
    # The paper's own scale is sqrt(T) long, where G a = 1 / a.
    paper_T = weight_T * math.sqrt(tasks) / torch.linalg.norm(update_P)
    torch.testing.assert_close(gram(gradient_TP) @ paper_T, 1 / paper_T)


def test_nash_agrees_with_torchjd_where_its_iteration_arrives() -> None:
    arrived = 0
    for seed in range(20):
        gradient_TP = random(2 + seed % 3, seed=seed)
        with warnings.catch_warnings():  # of its solver
            warnings.simplefilter("ignore")
            oracle = NashMTL(n_tasks=len(gradient_TP), max_norm=0.0, optim_niter=100)
            other_T = oracle.weighting(gradient_TP)
        part_T = other_T * (gram(gradient_TP) @ other_T)
        if float(part_T.max() / part_T.min()) < 1.001:
            arrived += 1
            found_T = weigh(Nash(), gradient_TP)
            torch.testing.assert_close(
                found_T / found_T.sum(), other_T / other_T.sum(), rtol=1e-3, atol=1e-3
            )
    assert arrived >= 10


@pytest.mark.parametrize("tasks", [2, 3, 6, 12])
@pytest.mark.parametrize("seed", range(6))
def test_upgrad_agrees_with_torchjd(tasks: int, seed: int) -> None:
    gradient_TP = random(tasks, 15, seed=seed)
    exact = QuadprogProjector(norm_eps=0.0, reg_eps=1e-14)
    expected_T = tasks * UPGradWeighting(projector=exact)(gram(gradient_TP))
    torch.testing.assert_close(weigh(UPGrad(), gradient_TP), expected_T, rtol=1e-6, atol=1e-6)


@settings(max_examples=80, deadline=None)
@given(gradient_TP=gradients(tasks=9))
def test_upgrad_opposes_no_task(gradient_TP: Tensor) -> None:
    update_P = update(UPGrad(), gradient_TP)
    length_T = torch.linalg.norm(gradient_TP, dim=1)
    assert bool((gradient_TP @ update_P >= -1e-6 * length_T * length_T.max()).all())


def test_upgrad_of_two_is_pcgrad() -> None:
    for seed in SEEDS:
        gradient_TP = random(2, 3, seed)
        torch.testing.assert_close(weigh(UPGrad(), gradient_TP), weigh(PCGrad(), gradient_TP))


# --- weighting of losses --------------------------------------------------------------------------


def losses_of(step_index: int) -> dict[str, float]:
    noise = float(torch.rand((), generator=seeded(step_index)))
    return {"a": 3.0 * 0.98**step_index + noise, "b": 0.05 + 0.01 * noise, "c": 1.0 + noise}


def test_uncertainty_follows_adam_on_kendalls_objective() -> None:
    part, memory = Uncertainty(lr=0.02), dict[str, Tensor]()
    oracle = scalarization.UW(3).double()
    optimizer = torch.optim.Adam(oracle.parameters(), lr=0.02)
    for index in range(150):
        losses, now = losses_of(index), step(3, memory, index=index)
        expected_T = torch.exp(-oracle.log_var).tolist()
        assert [part.factor(task, now) for task in losses] == pytest.approx(expected_T, abs=1e-9)
        optimizer.zero_grad()
        torch.autograd.backward(oracle(torch.tensor(list(losses.values()), dtype=torch.float64)))
        optimizer.step()
        part.observe(losses, now)
    assert part.factor("b", step(3, memory)) > 2 > 1 > part.factor("c", step(3, memory))


def test_the_first_move_of_uncertainty_by_hand() -> None:
    part, now = Uncertainty(lr=0.1), step(2)
    assert part.factor("a", now) == 1.0
    part.observe({"a": 3.0, "b": 0.5}, now)  # Adam's first step is lr long, up where L > 1
    assert part.factor("a", now) == pytest.approx(math.exp(-0.1))
    assert part.factor("b", now) == pytest.approx(math.exp(0.1))
    assert part.factor("c", now) == 1.0


def test_uncertainty_brings_weighted_losses_to_one_and_stays_bounded() -> None:
    part, memory = Uncertainty(lr=0.2), dict[str, Tensor]()
    for index in range(400):
        part.observe({"a": 4.0, "b": 0.25, "perfect": 0.0}, step(3, memory, index=index))
    now = step(3, memory)
    assert part.factor("a", now) == pytest.approx(1 / 4, rel=0.01)
    assert part.factor("b", now) == pytest.approx(4, rel=0.01)
    assert part.factor("perfect", now) == pytest.approx(math.exp(10))


def test_uncertainty_moves_only_the_tasks_of_the_step() -> None:
    part, memory = Uncertainty(), dict[str, Tensor]()
    part.observe({"a": 3.0, "b": 2.0}, step(2, memory))
    before = part.factor("b", step(2, memory))
    part.observe({"a": 3.0}, step(1, memory))
    assert part.factor("b", step(2, memory)) == before
    assert part.factor("a", step(2, memory)) < before


@pytest.mark.parametrize("every", [None, 7])
def test_dwa_agrees_with_torchjd(every: int | None) -> None:
    part, memory = DWA(every=every, temperature=1.5), dict[str, Tensor]()
    oracle, ones_T = scalarization.DWA(temperature=1.5), torch.ones(3, dtype=torch.float64)
    seen = set()
    for index in range(42):
        if index and index % 7 == 0:
            oracle.step()
        losses = losses_of(index)
        now = step(3, memory, index=index, epoch=index // 7 + 1 if every is None else 1)
        values_T = torch.tensor(list(losses.values()), dtype=torch.float64, requires_grad=True)
        (expected_T,) = torch.autograd.grad(oracle(values_T), values_T)
        found = [part.factor(task, now) for task in losses]
        assert found == pytest.approx(expected_T.tolist(), abs=1e-12)
        assert sum(found) == pytest.approx(3)
        assert (found == ones_T.tolist()) == (index < 14)
        seen.add(tuple(found))
        part.observe(losses, now)
    assert len(seen) == 5


def test_dwa_by_hand_weights_the_task_that_learns_slowly() -> None:
    part, memory = DWA(), dict[str, Tensor]()
    for epoch, losses in enumerate([{"a": 2.0, "b": 2.0}, {"a": 2.0, "b": 1.0}], 1):
        part.observe(losses, step(2, memory, epoch=epoch))
    now = step(2, memory, epoch=3)  # rates 1 and 1/2, halved by the temperature
    share = 1 / (1 + math.exp(-0.25))
    assert part.factor("a", now) == pytest.approx(2 * share)
    assert part.factor("b", now) == pytest.approx(2 - 2 * share)


def test_dwa_leaves_tasks_alone_that_it_has_not_seen_in_two_windows() -> None:
    part, memory = DWA(), dict[str, Tensor]()
    for epoch in (1, 2, 3):
        losses = {"a": 2.0 / epoch, "b": 1.0} if epoch < 3 else {"a": 1.0, "late": 5.0}
        part.observe(losses, step(2, memory, epoch=epoch))
    factors = {task: part.factor(task, step(1, memory, epoch=4)) for task in ("a", "b", "late")}
    assert factors["late"] == part.factor("never", step(1, memory, epoch=4)) == 1.0
    assert factors["a"] + factors["b"] == pytest.approx(2)  # b keeps its rate of epochs 1 and 2
    assert factors["a"] == factors["b"]  # both did not improve


@pytest.mark.parametrize("losses", [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1e-300, 1e300)])
def test_dwa_is_finite_for_any_losses(losses: tuple[float, float]) -> None:
    part, memory = DWA(), dict[str, Tensor]()
    for epoch, loss in enumerate(losses, 1):
        part.observe({"a": loss, "b": 1.0}, step(2, memory, epoch=epoch))
    factors = [part.factor(task, step(2, memory, epoch=3)) for task in ("a", "b")]
    assert sum(factors) == pytest.approx(2)
    assert all(0 <= factor <= 2 for factor in factors)


@pytest.mark.parametrize("part", [Uncertainty(), DWA(every=1)], ids=named)
def test_a_loss_that_is_not_finite_is_not_remembered(part: CombinerPart) -> None:
    memory: dict[str, Tensor] = {}
    for index in range(4):
        part.observe({"a": math.nan, "b": math.inf}, step(2, memory, index=index))
    assert [part.factor(task, step(2, memory, index=4)) for task in "ab"] == [1.0, 1.0]


# --- memory ---------------------------------------------------------------------------------------


def run(part: CombinerPart, memory: dict[str, Tensor], indices: range) -> list[list[float]]:
    told = []
    for index in indices:
        losses, gradient_TP = losses_of(index), random(3, 3, index) + 0.5
        now = step(list(losses), memory, seed=index, index=index, epoch=index // 4 + 1)
        factors = [part.factor(task, now) for task in losses]
        told.append(factors + part.weigh(gram(gradient_TP), now).tolist())
        part.observe(losses, now)
    return told


@pytest.mark.parametrize("part", EVERY, ids=named)
def test_a_run_goes_on_the_same_from_copied_memory(part: CombinerPart) -> None:
    memory: dict[str, Tensor] = {}
    run(part, memory, range(10))
    copied = load(save(memory)) if memory else {}
    assert run(part, copied, range(10, 24)) == run(part, memory, range(10, 24))
    assert all(key.startswith(cast(Any, part).kind + ".") for key in memory)
    assert bool(memory) == isinstance(part, GradVac | Uncertainty | DWA | GradNorm)


@pytest.mark.parametrize("make", [GradVac, Uncertainty, DWA, GradNorm])
def test_memory_makes_a_difference(make: Callable[[], CombinerPart]) -> None:
    remembered = run(make(), {}, range(20))[10:]
    forgotten = run(make(), {}, range(10, 20))
    assert any(first != second for first, second in zip(remembered, forgotten, strict=True))
    assert all(first != second for first, second in pairwise(remembered)) or make is DWA
