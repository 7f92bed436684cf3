"""Samplers: shares against the papers' formulas, draws against the shares."""

import math
from collections import Counter
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from trivium.parts.samplers import (
    Annealed,
    Joint,
    Proportional,
    RoundRobin,
    Sampler,
    SamplerPart,
    Sequential,
    SquareRoot,
    Temperature,
)
from trivium.types import Step

SIZES = [9000, 900, 100]
DRAWN = [Proportional(), SquareRoot(), Temperature(alpha=0.3), Annealed()]
EVERY: list[SamplerPart] = [Joint(), RoundRobin(), *DRAWN]


def step(
    generator: torch.Generator,
    index: int = 0,
    epoch: int = 1,
    epochs: int = 1,
    memory: dict[str, Tensor] | None = None,
) -> Step:
    return Step(index, 10_000, epoch, epochs, generator, {} if memory is None else memory)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tempered(sizes: list[int], alpha: float) -> list[float]:
    powers = [size**alpha for size in sizes]
    return [power / sum(powers) for power in powers]


def draws(sampler: SamplerPart, count: int, seed: int = 0, epoch: int = 1) -> list[int]:
    generator, memory = seeded(seed), dict[str, Tensor]()
    steps = [step(generator, index, epoch, 4, memory) for index in range(count)]
    return [task for one in steps for task in sampler.draw(SIZES, one)]


@pytest.mark.parametrize(
    ("sampler", "alpha"),
    [
        (Proportional(), 1.0),
        (SquareRoot(), 0.5),
        (Temperature(), 0.5),
        (Temperature(alpha=0.3), 0.3),
        (Temperature(alpha=0), 0.0),
        (Temperature(alpha=1), 1.0),
    ],
)
def test_shares_are_proportional_to_a_power_of_the_sizes(
    sampler: SamplerPart, alpha: float
) -> None:
    for epoch in (1, 3):
        assert sampler.shares(SIZES, epoch, 3) == pytest.approx(tempered(SIZES, alpha))
    assert sampler.tasks_per_draw(3) == 1


@pytest.mark.parametrize("epochs", [2, 3, 10, 25])
def test_annealed_follows_stickland_and_murray(epochs: int) -> None:
    for epoch in range(1, epochs + 1):
        alpha = 1 - 0.8 * (epoch - 1) / (epochs - 1)
        assert Annealed().alpha_in(epoch, epochs) == pytest.approx(alpha)
        assert Annealed().shares(SIZES, epoch, epochs) == pytest.approx(tempered(SIZES, alpha))


def test_annealed_is_proportional_in_a_single_epoch() -> None:
    assert Annealed().alpha_in(1, 1) == 1.0
    assert Annealed().shares(SIZES, 1, 1) == Proportional().shares(SIZES, 1, 1)


def test_annealed_ends_at_the_exponent_it_is_given() -> None:
    assert Annealed(final=0).shares(SIZES, 5, 5) == pytest.approx([1 / 3] * 3)
    assert Annealed(final=1).shares(SIZES, 5, 5) == pytest.approx([0.9, 0.09, 0.01])


def test_joint_gives_every_task_every_time() -> None:
    assert draws(Joint(), 3) == [0, 1, 2] * 3
    assert Joint().tasks_per_draw(3) == 3
    assert Joint().shares(SIZES, 1, 1) == [1 / 3] * 3


def test_round_robin_takes_turns() -> None:
    assert draws(RoundRobin(), 7) == [0, 1, 2, 0, 1, 2, 0]
    assert RoundRobin().shares(SIZES, 1, 1) == [1 / 3] * 3


def test_sequential_trains_one_task_after_another_in_every_epoch() -> None:
    def drawn(epochs: int, steps: int) -> list[int]:
        generator = torch.Generator()
        return [
            Sequential().draw([40, 20, 10], Step(i, epochs * steps, i // steps + 1, epochs,
                              generator, steps_per_epoch=steps))[0]
            for i in range(epochs * steps)
        ]  # fmt: skip

    assert drawn(2, 7) == [0, 0, 0, 0, 1, 1, 2] * 2
    assert drawn(1, 14) == [0] * 8 + [1] * 4 + [2] * 2


def test_round_robin_goes_on_from_the_memory_it_left() -> None:
    generator, memory = seeded(), dict[str, Tensor]()
    first = [RoundRobin().draw(SIZES, step(generator, i, memory=memory)) for i in range(2)]
    restored = {name: value.clone() for name, value in memory.items()}
    then = [RoundRobin().draw(SIZES, step(seeded(9), 2 + i, memory=restored)) for i in range(2)]
    assert first + then == [[0], [1], [2], [0]]
    assert RoundRobin().draw(SIZES, step(generator)) == [0]


@pytest.mark.parametrize("epoch", [1, 4])
@pytest.mark.parametrize("sampler", DRAWN, ids=lambda sampler: sampler.kind)
def test_tasks_are_drawn_as_often_as_their_shares_say(sampler: SamplerPart, epoch: int) -> None:
    count = 4000
    found = Counter(draws(sampler, count, epoch=epoch))
    for task, share in enumerate(sampler.shares(SIZES, epoch, 4)):
        deviation = math.sqrt(count * share * (1 - share))
        assert abs(found[task] - count * share) < 4.5 * deviation


@pytest.mark.parametrize("sampler", EVERY, ids=lambda sampler: sampler.kind)
def test_draws_depend_on_the_generator_alone(sampler: SamplerPart) -> None:
    torch.manual_seed(1)
    once = draws(sampler, 60, seed=5)
    torch.manual_seed(2)
    assert draws(sampler, 60, seed=5) == once
    if isinstance(sampler, SquareRoot):
        assert draws(sampler, 60, seed=6) != once


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 10**18), min_size=1, max_size=12),
    st.sampled_from(EVERY),
    st.integers(1, 7),
)
def test_shares_stay_shares_however_unequal_the_sizes(
    sizes: list[int], sampler: SamplerPart, epoch: int
) -> None:
    shares = sampler.shares(sizes, epoch, 7)
    assert math.fsum(shares) == pytest.approx(1)
    assert all(0 < share <= 1 for share in shares)
    if sampler.kind != "round_robin" and sampler.kind != "joint":  # type: ignore[attr-defined]
        by_size = [share for _, share in sorted(zip(sizes, shares, strict=True))]
        assert by_size == sorted(by_size)
    drawn = sampler.draw(sizes, step(seeded(), epoch=epoch, epochs=7))
    assert len(drawn) == sampler.tasks_per_draw(len(sizes))
    assert all(0 <= task < len(sizes) for task in drawn)


@given(st.lists(st.integers(1, 10**18), min_size=1, max_size=12))
def test_proportional_shares_are_the_exact_fractions(sizes: list[int]) -> None:
    exact = [float(Fraction(size, sum(sizes))) for size in sizes]
    assert Proportional().shares(sizes, 1, 1) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"kind": "temperature", "alpha": 1.1}, "alpha"),
        ({"kind": "annealed", "final": -1}, "final"),
    ],
)
def test_exponents_outside_0_to_1_are_refused(settings: dict[str, object], kind: str) -> None:
    with pytest.raises(ValidationError, match=kind):
        TypeAdapter[object](Sampler).validate_python(settings)
