"""Losses agree with torch, with their formulas written out, and with cases done by hand."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from trivium.parts.losses import (
    AnyLoss,
    CoSENT,
    CrossEntropy,
    Focal,
    LabelLoss,
    LossPart,
    MeanSquaredError,
)

LABEL_LOSSES = [
    CrossEntropy(),
    CrossEntropy(label_smoothing=0.2),
    Focal(gamma=0.5),
    Focal(gamma=1),
    Focal(),
]
scores = st.lists(st.floats(-2, 2), min_size=1, max_size=8)


def name(loss: LossPart) -> str:
    values = loss.model_dump(exclude={"kind"}).values()
    return f"{getattr(loss, 'kind', '')}{list(values)}"


every_label_loss = pytest.mark.parametrize("loss", LABEL_LOSSES, ids=name)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rows(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of 7 rows of 4 labels, the right labels, and weights of labels."""
    generator = torch.Generator().manual_seed(seed)
    weight_K = torch.rand(4, generator=generator, dtype=torch.float64) + 0.1
    return 3 * random(7, 4, seed=seed), torch.randint(0, 4, (7,), generator=generator), weight_K


def marks(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of 7 rows of 4 labels, which of them apply, and weights of labels."""
    logit_BK, _, weight_K = rows(seed)
    return logit_BK, (random(7, 4, seed=seed + 1) > 0).double(), weight_K


# --- one label ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_cross_entropy_is_torchs(seed: int, smoothing: float) -> None:
    logit_BK, label_B, weight_K = rows(seed)
    loss = CrossEntropy(label_smoothing=smoothing)
    for weights in (None, weight_K):
        wanted = F.cross_entropy(logit_BK, label_B, weights, label_smoothing=smoothing)
        assert torch.equal(loss.one(logit_BK, label_B, weights), wanted)


def test_smoothing_spreads_its_share_over_all_labels_by_hand() -> None:
    logit_BK = torch.tensor([[0.0, math.log(3)]])  # probabilities 1/4 and 3/4
    found = CrossEntropy(label_smoothing=0.2).one(logit_BK, torch.tensor([1]))
    assert found.item() == pytest.approx(0.9 * math.log(4 / 3) + 0.1 * math.log(4))


def test_focal_by_hand() -> None:
    # The right label has probability 3/4 in the first row and 1/4 in the second.
    logit_BK = torch.tensor([[0.0, math.log(3)], [0.0, math.log(3)]])
    label_B = torch.tensor([1, 0])
    easy, hard = (1 / 4) ** 2 * math.log(4 / 3), (3 / 4) ** 2 * math.log(4)
    found = Focal(gamma=2).one(logit_BK, label_B)
    assert found.item() == pytest.approx((easy + hard) / 2)
    weighted = Focal(gamma=2).one(logit_BK, label_B, torch.tensor([3.0, 1.0]))
    assert weighted.item() == pytest.approx((1 * easy + 3 * hard) / (1 + 3))


@pytest.mark.parametrize("seed", range(3))
def test_focal_without_focus_is_cross_entropy(seed: int) -> None:
    logit_BK, label_B, weight_K = rows(seed)
    for weights in (None, weight_K):
        wanted = CrossEntropy().one(logit_BK, label_B, weights)
        torch.testing.assert_close(Focal(gamma=0).one(logit_BK, label_B, weights), wanted)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
def test_the_surer_a_row_the_less_of_its_cross_entropy_is_left(gamma: float) -> None:
    logit_BK = torch.stack([torch.linspace(-3, 3, 20), torch.zeros(20)], dim=1)
    right_B = torch.zeros(20, dtype=torch.int64)
    shares = [
        float(
            Focal(gamma=gamma).one(row[None], right[None])
            / CrossEntropy().one(row[None], right[None])
        )
        for row, right in zip(logit_BK, right_B, strict=True)
    ]
    assert shares == sorted(shares, reverse=True)
    assert 0 < shares[-1] < shares[0] < 1


@every_label_loss
def test_equal_weights_change_nothing(loss: LabelLoss) -> None:
    logit_BK, label_B, weight_K = rows()
    even_K = torch.full_like(weight_K, 3.0)
    torch.testing.assert_close(
        loss.one(logit_BK, label_B, even_K), loss.one(logit_BK, label_B), rtol=1e-12, atol=0
    )


@pytest.mark.parametrize("loss", [CrossEntropy(), Focal(gamma=0.5), Focal()], ids=name)
def test_a_weight_of_a_label_counts_as_so_many_rows(loss: LabelLoss) -> None:
    logit_BK, label_B, _ = rows()
    copies_B = torch.tensor([1, 2, 1, 3])[label_B]
    repeated = loss.one(
        logit_BK.repeat_interleave(copies_B, 0), label_B.repeat_interleave(copies_B)
    )
    weighted = loss.one(logit_BK, label_B, torch.tensor([1.0, 2.0, 1.0, 3.0], dtype=torch.float64))
    torch.testing.assert_close(weighted, repeated)


# --- several labels ----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_several_labels_cost_torchs_binary_cross_entropy(seed: int) -> None:
    logit_BK, applies_BK, weight_K = marks(seed)
    for weights in (None, weight_K):
        wanted = F.binary_cross_entropy_with_logits(logit_BK, applies_BK, pos_weight=weights)
        torch.testing.assert_close(CrossEntropy().many(logit_BK, applies_BK, weights), wanted)
        found = Focal(gamma=0).many(logit_BK, applies_BK, weights)
        torch.testing.assert_close(found, wanted)


@every_label_loss
def test_a_label_that_applies_or_not_is_a_choice_out_of_two(loss: LabelLoss) -> None:
    logit_BK, applies_BK, _ = marks()
    two_N2 = torch.stack([torch.zeros_like(logit_BK), logit_BK], dim=-1).view(-1, 2)
    wanted = loss.one(two_N2, applies_BK.long().view(-1))
    torch.testing.assert_close(loss.many(logit_BK, applies_BK), wanted)


def test_focal_for_several_labels_by_hand() -> None:
    # Probability 3/4 of a label that applies and of one that does not.
    logit_BK = torch.full((1, 2), math.log(3))
    easy, hard = (1 / 4) ** 2 * math.log(4 / 3), (3 / 4) ** 2 * math.log(4)
    applies_BK = torch.tensor([[1.0, 0.0]])
    assert Focal().many(logit_BK, applies_BK).item() == pytest.approx((easy + hard) / 2)
    weighted = Focal().many(logit_BK, applies_BK, torch.tensor([5.0, 7.0]))
    assert weighted.item() == pytest.approx((5 * easy + hard) / 2)


# --- both --------------------------------------------------------------------------------------


@every_label_loss
@pytest.mark.parametrize("size", [1.0, 30.0, 1e4])
def test_sure_answers_right_or_wrong_have_finite_losses_and_gradients(
    loss: LabelLoss, size: float
) -> None:
    logit_BK = torch.tensor([[size, -size], [-size, size], [0.0, 0.0]], requires_grad=True)
    for found in (
        loss.one(logit_BK, torch.tensor([0, 0, 1])),
        loss.many(logit_BK, torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])),
    ):
        (gradient_BK,) = torch.autograd.grad(found, logit_BK)
        assert found.isfinite()
        assert found > 0
        assert gradient_BK.isfinite().all()


@every_label_loss
def test_gradients_are_those_of_the_loss(loss: LabelLoss) -> None:
    logit_BK, label_B, weight_K = rows()
    _, applies_BK, _ = marks()
    logit_BK.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss.one(x, label_B, weight_K), logit_BK)
    assert torch.autograd.gradcheck(lambda x: loss.many(x, applies_BK, weight_K), logit_BK)


# --- scores ------------------------------------------------------------------------------------


def cosent_by_definition(output: list[float], target: list[float], scale: float) -> float:
    pairs = [(i, j) for i in range(len(target)) for j in range(len(target))]
    wrong = [math.exp(scale * (output[j] - output[i])) for i, j in pairs if target[i] > target[j]]
    return math.log1p(sum(wrong))


def test_cosent_by_hand() -> None:
    # Pairs that must be in order: row 0 over row 1 (it is, by 0.1) and over row 2 (it is not).
    output_B, target_B = torch.tensor([0.5, 0.4, 0.7]), torch.tensor([1.0, 0.0, 0.0])
    wanted = math.log(1 + math.exp(-2) + math.exp(4))
    assert CoSENT().score(output_B, target_B).item() == pytest.approx(wanted)
    wanted = math.log(1 + math.exp(-0.2) + math.exp(0.4))
    assert CoSENT(scale=2).score(output_B, target_B).item() == pytest.approx(wanted)


@given(output=scores, data=st.data())
def test_cosent_is_its_definition(output: list[float], data: st.DataObject) -> None:
    size = len(output)
    target = data.draw(
        st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=size, max_size=size)
    )
    tensors = (torch.tensor(values, dtype=torch.float64) for values in (output, target))
    found = CoSENT(scale=3).score(*tensors).item()
    assert found == pytest.approx(cosent_by_definition(output, target, 3), rel=1e-9, abs=1e-12)


@given(output=scores, shift=st.floats(-5, 5))
def test_cosent_sees_the_order_only(output: list[float], shift: float) -> None:
    output_B, target_B = torch.tensor(output, dtype=torch.float64), torch.arange(len(output)) / 8
    found = CoSENT().score(output_B + shift, target_B)
    torch.testing.assert_close(found, CoSENT().score(output_B, target_B**3), atol=1e-9, rtol=1e-9)


def test_cosent_pulls_the_higher_up_and_the_lower_down() -> None:
    output_B = torch.tensor([0.5, 0.4, 0.7], requires_grad=True)
    loss = CoSENT().score(output_B, torch.tensor([1.0, 0.5, 0.0]))
    (gradient_B,) = torch.autograd.grad(loss, output_B)
    assert gradient_B[0] < 0 < gradient_B[2]
    assert gradient_B.sum().item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("output", [[0.3], [0.3, 0.9, -0.2]])
def test_cosent_of_a_batch_without_an_ordered_pair_is_0_and_can_be_trained_on(
    output: list[float],
) -> None:
    output_B = torch.tensor(output, requires_grad=True)
    loss = CoSENT().score(output_B, torch.full((len(output),), 0.5))
    (gradient_B,) = torch.autograd.grad(loss, output_B)
    assert loss.item() == 0
    assert (gradient_B == 0).all()


def test_cosent_of_scores_far_apart_is_finite() -> None:
    output_B = torch.tensor([-1e4, 1e4], requires_grad=True)
    for target_B in (torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])):
        loss = CoSENT().score(output_B, target_B)
        (gradient_B,) = torch.autograd.grad(loss, output_B)
        assert loss.isfinite()
        assert gradient_B.isfinite().all()


def test_an_anchor_adds_its_share_of_the_squared_error() -> None:
    output_B, target_B = random(6, seed=1), random(6, seed=2)
    added = CoSENT(anchor=0.5).score(output_B, target_B) - CoSENT().score(output_B, target_B)
    torch.testing.assert_close(added, 0.5 * F.mse_loss(output_B, target_B))
    torch.testing.assert_close(
        MeanSquaredError().score(output_B, target_B), F.mse_loss(output_B, target_B)
    )


# --- settings ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "focal", "gamma": -1},
        {"kind": "cross_entropy", "label_smoothing": 1},
        {"kind": "cross_entropy", "gamma": 1},
        {"kind": "cosent", "scale": 0},
        {"kind": "cosent", "anchor": -1},
        {"kind": "hinge"},
    ],
)
def test_settings_that_make_no_loss_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(AnyLoss).validate_python(values)
