"""How far apart two outputs are: the symmetrised KL divergence, or the squared difference."""

from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution, kl_divergence

from trivium.parts.tasks import AnyTask, Task


def task(kind: str, **settings: Any) -> Task:
    labels = {} if kind == "regression" else {"labels": ["1", "2", "3"]}
    given = {"kind": kind, "name": "t", "text": "a", "label": "y"}
    return TypeAdapter[Task](AnyTask).validate_python(given | labels | settings)


KINDS = ["classification", "ordinal", "multilabel", "regression"]
every_kind = pytest.mark.parametrize("kind", KINDS)


def outputs(kind: str, seed: int, size: float = 2.0) -> Tensor:
    """What a model says of 5 rows."""
    torch.manual_seed(seed)
    made = task(kind)
    return made.build_head(4).eval().decide(size * 20 * torch.randn(5, 1, 4)).detach()


def symmetrised(p: Distribution, q: Distribution) -> Tensor:
    return kl_divergence(p, q) + kl_divergence(q, p)


@pytest.mark.parametrize("seed", range(3))
@every_kind
def test_it_is_torchs_kl_divergence_both_ways_or_the_squared_difference(
    kind: str, seed: int
) -> None:
    a_BK, b_BK = outputs(kind, seed), outputs(kind, seed + 10)
    found = task(kind).divergence(a_BK, b_BK)
    x_BK, y_BK = a_BK.double(), b_BK.double()
    if kind == "regression":
        wanted = (x_BK - y_BK).pow(2).mean()
    elif kind == "multilabel":
        wanted = symmetrised(Bernoulli(logits=x_BK), Bernoulli(logits=y_BK)).sum(1).mean()
    else:
        wanted = symmetrised(Categorical(logits=x_BK), Categorical(logits=y_BK)).mean()
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-6)
    assert found.dtype == torch.float32
    assert found > 0


@every_kind
def test_it_is_the_same_from_both_sides_and_differentiable_in_both(kind: str) -> None:
    a_BK, b_BK = outputs(kind, 0).requires_grad_(), outputs(kind, 1).requires_grad_()
    torch.testing.assert_close(task(kind).divergence(a_BK, b_BK), task(kind).divergence(b_BK, a_BK))
    found = torch.autograd.grad(task(kind).divergence(a_BK, b_BK), [a_BK, b_BK])
    assert all(gradient_BK.abs().sum() > 0 for gradient_BK in found)


@pytest.mark.parametrize("size", [1.0, 1e4])
@every_kind
def test_equal_outputs_are_not_apart_and_nothing_pulls_at_them(kind: str, size: float) -> None:
    a_BK = outputs(kind, 0, size).requires_grad_()
    b_BK = a_BK.detach().clone().requires_grad_()
    found = task(kind).divergence(a_BK, b_BK)
    assert found.item() == 0
    for gradient_BK in torch.autograd.grad(found, [a_BK, b_BK]):
        assert (gradient_BK == 0).all()


@pytest.mark.parametrize("size", [30.0, 1e3, 1e6])
@every_kind
def test_sure_and_opposite_outputs_are_apart_by_a_number(kind: str, size: float) -> None:
    a_BK = torch.tensor([[size, -size, 0.0]])[:, : task(kind).outputs].requires_grad_()
    b_BK = (-a_BK.detach()).requires_grad_()
    found = task(kind).divergence(a_BK, b_BK)
    assert found.isfinite()
    assert found >= size
    for gradient_BK in torch.autograd.grad(found, [a_BK, b_BK]):
        assert gradient_BK.isfinite().all()


@every_kind
def test_it_does_not_grow_with_the_batch(kind: str) -> None:
    a_BK, b_BK = outputs(kind, 0), outputs(kind, 1)
    torch.testing.assert_close(
        task(kind).divergence(a_BK.repeat(3, 1), b_BK.repeat(3, 1)),
        task(kind).divergence(a_BK, b_BK),
    )


@every_kind
def test_low_precision_outputs_are_compared_in_fp32(kind: str) -> None:
    a_BK, b_BK = outputs(kind, 0).bfloat16(), outputs(kind, 1).bfloat16()
    found = task(kind).divergence(a_BK, b_BK)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, task(kind).divergence(a_BK.float(), b_BK.float()))


def test_of_scores_it_is_on_the_unit_scale() -> None:
    made = task("regression", range=[0, 5])
    assert made.divergence(torch.tensor([[0.2]]), torch.tensor([[0.7]])).item() == pytest.approx(
        0.25
    )


# --- ensembles ---------------------------------------------------------------------------------


@every_kind
def test_the_mean_of_readouts_is_a_readout(kind: str) -> None:
    made = task(kind)
    mean_BK = (made.readout(outputs(kind, 0)) + made.readout(outputs(kind, 1))) / 2
    assert (mean_BK >= 0).all()
    assert (mean_BK <= 1).all()
    if kind in ("classification", "ordinal"):
        torch.testing.assert_close(mean_BK.sum(1), torch.ones(5))
    assert len(made.answers(mean_BK)) == 5
    assert len(made.columns(mean_BK, detailed=True)["prediction"]) == 5
