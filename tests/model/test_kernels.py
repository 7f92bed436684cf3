"""The kernels against plain PyTorch: same values, same gradients."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.conftest import relative
from trivium.model import kernels
from trivium.model.attention import attention, layout
from trivium.model.kernels import Linear, dropout, dropout_mask, linear

BOTH = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
MANY = tuple(1 + 7 * i % 13 for i in range(40))  # more than one group
LENGTHS = [(7,), (5, 5, 5), (3, 11, 1, 6), MANY]


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


# --- dropout -----------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5, 0.9])
@BOTH
def test_dropout_mask_is_zero_with_probability_p_and_keeps_the_mean(
    p: float, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    count = 200_003  # no multiple of the four elements that share a draw
    mask = dropout_mask((count,), p, dtype)
    assert mask.dtype == dtype
    assert set(mask.tolist()) == {0.0, torch.tensor(1 / (1 - p)).to(dtype).item()}
    zeros = (mask == 0).double().mean()
    assert abs(zeros - p) < 5 * math.sqrt(p * (1 - p) / count)


def test_dropout_mask_drops_the_four_elements_of_a_draw_independently() -> None:
    torch.manual_seed(0)
    kept = (dropout_mask((100_000, 4), 0.5, torch.float32) > 0).double()
    assert (torch.corrcoef(kept.T) - torch.eye(4)).abs().max() < 0.02


@pytest.mark.parametrize("shape", [(1,), (3, 5), (2, 4, 7, 7), (0, 3)])
def test_dropout_mask_is_reproduced_by_the_global_seed(shape: tuple[int, ...]) -> None:
    torch.manual_seed(3)
    first, second = dropout_mask(shape, 0.5, torch.float32), dropout_mask(shape, 0.5, torch.float32)
    torch.manual_seed(3)
    assert torch.equal(dropout_mask(shape, 0.5, torch.float32), first)
    assert torch.equal(dropout_mask(shape, 0.5, torch.float32), second)
    assert first.shape == shape


def test_dropout_multiplies_value_and_gradient_by_its_mask() -> None:
    x = noise(40, 30).requires_grad_()
    torch.manual_seed(1)
    y = dropout(x, 0.3, training=True)
    torch.manual_seed(1)
    mask = dropout_mask(x.shape, 0.3, x.dtype)
    torch.autograd.backward((y * noise(40, 30, seed=1)).sum())
    assert torch.equal(y, x * mask)
    assert x.grad is not None
    assert torch.equal(x.grad, noise(40, 30, seed=1) * mask)


def test_dropout_leaves_its_input_alone_outside_training_and_at_zero() -> None:
    x = noise(4, 3)
    assert dropout(x, 0.5, training=False) is x
    assert dropout(x, 0.0, training=True) is x


# --- attention ---------------------------------------------------------------------------------


def per_text(qkv_N3D: Tensor, lengths: tuple[int, ...], heads: int) -> Tensor:
    """Each text by itself through PyTorch's attention: no grid, no padding, no mask."""
    mixed = []
    for text_L3D in torch.split(qkv_N3D, list(lengths)):
        q, k, v = text_L3D.view(len(text_L3D), 3, heads, -1).permute(1, 2, 0, 3)
        mixed.append(F.scaled_dot_product_attention(q, k, v).transpose(0, 1).flatten(1))
    return torch.cat(mixed)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("heads", [1, 3])
@BOTH
def test_attention_equals_pytorchs_within_each_text(
    lengths: tuple[int, ...], heads: int, dtype: torch.dtype
) -> None:
    tokens, width = sum(lengths), 12
    where = layout(torch.tensor(lengths), max(lengths))
    weight = noise(tokens, width, seed=1)
    qkv = (2 * noise(tokens, 3 * width, dtype=dtype)).requires_grad_()
    exact = qkv.detach().double().requires_grad_()
    found, wanted = attention(qkv, where, heads, 0.0), per_text(exact, lengths, heads)
    assert found.dtype == dtype
    torch.autograd.backward((found.float() * weight).sum())
    torch.autograd.backward((wanted * weight).sum())
    assert qkv.grad is not None
    assert exact.grad is not None
    tolerance = 1e-6 if dtype == torch.float32 else 0.02
    assert relative(found, wanted) < tolerance
    assert relative(qkv.grad, exact.grad) < tolerance
    with torch.no_grad():  # another kernel
        assert relative(attention(qkv, where, heads, 0.0), wanted) < tolerance


@pytest.mark.parametrize("lengths", LENGTHS)
def test_attention_with_dropout_equals_autograd_of_the_formula_with_the_same_mask(
    lengths: tuple[int, ...],
) -> None:
    tokens, heads, size, p = sum(lengths), 2, 5, 0.3
    where = layout(torch.tensor(lengths), max(lengths))
    qkv = noise(tokens, 3 * heads * size).requires_grad_()
    torch.manual_seed(4)
    found = attention(qkv, where, heads, p)
    torch.manual_seed(4)
    masks: dict[int, Tensor] = {}  # by text: each group draws one mask for its texts, by length
    order = iter(torch.tensor(lengths).argsort(stable=True).tolist())
    for group in where:
        shape = (group.texts * heads, group.longest, group.longest)
        for mask in torch.split(dropout_mask(shape, p, torch.float32), heads):
            masks[next(order)] = mask
    assert any((mask == 0).any() for mask in masks.values())

    exact = qkv.detach().double().requires_grad_()
    rows = []
    for text, text_L3D in enumerate(torch.split(exact, list(lengths))):
        length, columns = len(text_L3D), []
        for head, part in enumerate(text_L3D.view(length, 3, heads, size).unbind(2)):
            q, k, v = part.unbind(1)
            weights = torch.softmax(q @ k.T / math.sqrt(size), dim=-1)
            columns.append((weights * masks[text][head, :length, :length]) @ v)
        rows.append(torch.cat(columns, dim=1))
    wanted = torch.cat(rows)

    weight = noise(tokens, heads * size, seed=1)
    torch.autograd.backward((found * weight).sum())
    torch.autograd.backward((wanted * weight).sum())
    assert qkv.grad is not None
    assert exact.grad is not None
    assert relative(found, wanted) < 1e-6
    assert relative(qkv.grad, exact.grad) < 1e-6


def test_layout_of_ragged_texts_by_hand() -> None:
    (group,) = layout(torch.tensor([2, 1, 3]), 3)
    # By length: the second text (token 2), the first (0, 1), the third (3, 4, 5).
    assert group.grid_S.tolist() == [2, 2, 2, 0, 1, 1, 3, 4, 5]
    assert group.slots_n.tolist() == [0, 3, 4, 6, 7, 8]
    assert group.tokens_n.tolist() == [2, 0, 1, 3, 4, 5]
    out = -math.inf
    assert group.mask_G1L is not None
    assert group.mask_G1L.squeeze().tolist() == [[0, out, out], [0, 0, out], [0, 0, 0]]


def test_layout_of_equal_lengths_needs_no_mask() -> None:
    (group,) = layout(torch.tensor([4, 4]), 4)
    assert group.mask_G1L is None
    assert group.grid_S.tolist() == list(range(8))


def test_groups_hold_every_token_once_and_are_no_longer_than_their_longest_text() -> None:
    groups = layout(torch.tensor(MANY), max(MANY))
    assert len(groups) > 1
    assert sorted(t for g in groups for t in g.tokens_n.tolist()) == list(range(sum(MANY)))
    assert sum(g.texts for g in groups) == len(MANY)
    assert sum(g.texts * g.longest for g in groups) < len(MANY) * max(MANY)


# --- linear ------------------------------------------------------------------------------------


def layers(*widths: int) -> list[Linear]:
    torch.manual_seed(0)
    return [Linear(16, width) for width in widths]


def copies(parts: list[Linear]) -> list[nn.Linear]:
    """The same layers in float64, as PyTorch computes them."""
    plain = []
    for part in parts:
        copy = nn.Linear(part.in_features, part.out_features, dtype=torch.float64)
        copy.load_state_dict(part.state_dict())
        plain.append(copy)
    return plain


@pytest.mark.parametrize("widths", [(8,), (16, 16, 16), (3, 5, 1)])
@pytest.mark.parametrize("onednn", [True, False])
@BOTH
def test_linear_of_several_layers_equals_each_layer_by_itself(
    widths: tuple[int, ...], onednn: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "_ONEDNN", onednn and kernels._ONEDNN)
    parts, weight = layers(*widths), noise(9, sum(widths), seed=1)
    x = noise(9, 16, dtype=dtype).requires_grad_()
    exact = x.detach().double().requires_grad_()
    plain = copies(parts)
    found, wanted = linear(x, parts), torch.cat([part(exact) for part in plain], dim=1)
    torch.autograd.backward((found.float() * weight).sum())
    torch.autograd.backward((wanted * weight).sum())

    tolerance = 1e-6 if dtype == torch.float32 else 0.01
    assert found.dtype == dtype
    assert relative(found, wanted) < tolerance
    assert x.grad is not None
    assert exact.grad is not None
    assert x.grad.dtype == dtype
    assert relative(x.grad, exact.grad) < tolerance
    for part, copy in zip(parts, plain, strict=True):
        for parameter, target in zip(part.parameters(), copy.parameters(), strict=True):
            assert parameter.grad is not None
            assert target.grad is not None
            assert parameter.grad.dtype == torch.float32
            assert relative(parameter.grad, target.grad) < tolerance


@pytest.mark.parametrize("frozen", [("weight", "bias"), ("weight",), ("bias",)])
@pytest.mark.parametrize("widths", [(8,), (4, 6)])
@BOTH
def test_frozen_parameters_get_no_gradient_but_everything_else_does(
    frozen: tuple[str, ...], widths: tuple[int, ...], dtype: torch.dtype
) -> None:
    parts = layers(*widths)
    for part in parts:
        for name in frozen:
            part.get_parameter(name).requires_grad_(False)
    x = noise(5, 16, dtype=dtype).requires_grad_()
    torch.autograd.backward(linear(x, parts).float().sum())
    assert x.grad is not None
    for part in parts:
        for name, parameter in part.named_parameters():
            assert (parameter.grad is None) == (name in frozen), name


def test_bf16_linear_sees_each_in_place_change_of_its_weights() -> None:
    (part,) = layers(8)
    x = noise(5, 16, dtype=torch.bfloat16)
    before = part(x)
    assert torch.equal(part(x), before)
    with torch.no_grad():
        part.weight.mul_(2)
        part.bias.mul_(2)
    assert torch.equal(part(x), 2 * before)
    part.load_state_dict({name: value / 2 for name, value in part.state_dict().items()})
    assert torch.equal(part(x), before)
