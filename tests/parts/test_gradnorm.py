"""GradNorm: its own equations by autograd, hand examples, and what it leaves alone."""

import math

import pytest
import torch
from torch import Tensor

from trivium.parts.combiners import GradNorm
from trivium.types import Step


def step(memory: dict[str, Tensor], *tasks: str) -> Step:
    return Step(0, 9, 1, 1, torch.Generator(), memory, tasks)


def told(part: GradNorm, memory: dict[str, Tensor], facts: dict[str, tuple[float, float]]) -> None:
    """One step of these tasks, each with its loss and its gradient's length."""
    now = step(memory, *facts)
    part.weigh(torch.diag(torch.tensor([norm**2 for _, norm in facts.values()])), now)
    part.observe({task: loss for task, (loss, _) in facts.items()}, now)


def factors(part: GradNorm, memory: dict[str, Tensor], tasks: str = "abc") -> list[float]:
    return [part.factor(task, step(memory)) for task in tasks]


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.5])
def test_factors_follow_the_papers_algorithm_by_autograd_while_a_layer_is_trained(
    alpha: float,
) -> None:
    generator = torch.Generator().manual_seed(0)
    shared_P = torch.randn(6, generator=generator, dtype=torch.float64).requires_grad_()
    goal_TP = torch.randn(3, 6, generator=generator, dtype=torch.float64)
    scale_T = torch.tensor([10.0, 1.0, 0.1], dtype=torch.float64)
    part, memory = GradNorm(alpha=alpha, lr=0.02), dict[str, Tensor]()
    weight_T = torch.ones(3, dtype=torch.float64, requires_grad=True)
    optimizer, first_T = torch.optim.Adam([weight_T], lr=0.02), None
    for _ in range(60):
        loss_T = scale_T * (shared_P - goal_TP).square().sum(1)
        first_T = loss_T.detach() if first_T is None else first_T
        # Algorithm 1 of the paper.
        each = [torch.autograd.grad(w * loss, shared_P, create_graph=True, retain_graph=True)[0]
                for w, loss in zip(weight_T, loss_T, strict=True)]  # fmt: skip
        norm_T = torch.stack([gradient.norm() for gradient in each])
        rate_T = loss_T.detach() / first_T
        wanted_T = norm_T.mean().detach() * (rate_T / rate_T.mean()) ** alpha
        # Ours, from the Gram matrix of the weighted losses' gradients.
        gradient_TP = torch.stack([g.detach() for g in each])
        assert factors(part, memory) == pytest.approx(weight_T.tolist(), rel=1e-6)
        now = step(memory, *"abc")
        assert part.weigh(gradient_TP @ gradient_TP.T, now).tolist() == [1.0] * 3
        part.observe(dict(zip("abc", loss_T.tolist(), strict=True)), now)
        optimizer.zero_grad()
        (weight_T.grad,) = torch.autograd.grad((norm_T - wanted_T).abs().sum(), weight_T)
        optimizer.step()
        with torch.no_grad():
            weight_T.copy_(weight_T * 3 / weight_T.sum())
            shared_P -= 0.01 * gradient_TP.sum(0)
    assert weight_T[0] < 0.5 < 1 < weight_T[2], "the loud task is turned down"


def test_the_first_move_by_hand() -> None:
    part, memory = GradNorm(lr=0.1), dict[str, Tensor]()
    told(part, memory, {"a": (2.0, 3.0), "b": (5.0, 1.0)})  # both as they began: the goal is 2
    assert factors(part, memory, "ab") == pytest.approx([0.9, 1.1])
    # Gradients of one length, but b has learnt nothing: its goal is longer.
    part, memory = GradNorm(lr=0.1), dict[str, Tensor]()
    told(part, memory, {"a": (2.0, 0.0), "b": (5.0, 0.0)})
    told(part, memory, {"a": (1.0, 1.0), "b": (5.0, 1.0)})
    assert memory["gradnorm.first.a"] == 2
    first, second = factors(part, memory, "ab")
    assert first < 1 < second
    assert first + second == pytest.approx(2)


def test_a_loss_that_begins_at_0_is_measured_by_its_first_above_it() -> None:
    """A batch of equal scores has no loss under CoSENT. The factors are those of a run that began
    one step later."""
    later: list[dict[str, tuple[float, float]]] = [
        {"a": (2.0, 3.0), "b": (5.0, 1.0)}, {"a": (0.0, 0.0), "b": (5.0, 1.0)},
        {"a": (1.0, 3.0), "b": (5.0, 1.0)},
    ]  # fmt: skip
    part, whole, begun_later = GradNorm(lr=0.1), dict[str, Tensor](), dict[str, Tensor]()
    told(part, whole, {"a": (0.0, 0.0), "b": (5.0, 9.0)})
    assert factors(part, whole, "ab") == [1.0, 1.0]  # nothing to compare with yet
    for facts in later:
        told(part, whole, facts)
        told(part, begun_later, facts)
    assert whole["gradnorm.first.a"] == 2
    assert factors(part, whole, "ab") == factors(part, begun_later, "ab") != [1.0, 1.0]


def test_without_alpha_the_lengths_become_equal() -> None:
    part, memory = GradNorm(alpha=0, lr=0.02), dict[str, Tensor]()
    plain = {"a": 4.0, "b": 1.0, "c": 0.5}
    for _ in range(600):
        told(part, memory, {t: (1.0, part.factor(t, step(memory)) * n) for t, n in plain.items()})
    lengths = [part.factor(t, step(memory)) * n for t, n in plain.items()]
    assert lengths == pytest.approx([lengths[0]] * 3, rel=0.1)
    assert sum(factors(part, memory)) == pytest.approx(3)


def test_a_step_moves_its_own_tasks_only_and_keeps_their_sum() -> None:
    part, memory = GradNorm(), dict[str, Tensor]()
    told(part, memory, {"a": (1.0, 1.0), "b": (1.0, 2.0), "c": (1.0, 4.0)})
    before = factors(part, memory)
    told(part, memory, {"a": (1.0, 1.0), "b": (1.0, 9.0)})
    after = factors(part, memory)
    assert after[2] == before[2]
    assert after[:2] != before[:2]
    assert sum(after) == pytest.approx(3)
    told(part, memory, {"b": (1.0, 9.0)})  # alone it has nothing to be compared with
    assert factors(part, memory) == after


def test_a_length_is_not_remembered_for_a_step_that_measured_none() -> None:
    part, memory = GradNorm(), dict[str, Tensor]()
    told(part, memory, {"a": (1.0, 1.0), "b": (1.0, 2.0)})
    before = factors(part, memory, "ab")
    part.observe({"a": 1.0, "b": 1.0}, step(memory))
    assert factors(part, memory, "ab") == before


@pytest.mark.parametrize(
    "facts",
    [
        {"a": (math.nan, 1.0), "b": (1.0, 2.0)},
        {"a": (1.0, math.inf), "b": (1.0, 2.0)},
        {"a": (0.0, 1.0), "b": (0.0, 2.0)},
        {"a": (1.0, 0.0), "b": (1.0, 0.0)},
    ],
    ids=["loss", "length", "nothing to learn", "no gradients"],
)
def test_what_says_nothing_moves_nothing(facts: dict[str, tuple[float, float]]) -> None:
    part, memory = GradNorm(), dict[str, Tensor]()
    for _ in range(3):
        told(part, memory, facts)
    assert factors(part, memory, "ab") == [1.0, 1.0]


def test_factors_stay_above_0_however_large_the_steps() -> None:
    part, memory = GradNorm(lr=0.9), dict[str, Tensor]()
    for index in range(50):
        told(part, memory, {"a": (1.0, 1e6), "b": (1.0, 1.0 + index % 2)})
        assert all(factor > 0 for factor in factors(part, memory, "ab"))
