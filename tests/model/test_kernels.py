"""The kernels against plain PyTorch: same values, same gradients."""

import itertools
import math
import pickle
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from tests.support.tensors import relative
from trivium.model import kernels
from trivium.model.attention import attention, layout
from trivium.model.kernels import Linear, dropout, dropout_mask, linear
from trivium.model.lowrank import LoraPair

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
    where = layout(torch.tensor(lengths))
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
    where = layout(torch.tensor(lengths))
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
    (group,) = layout(torch.tensor([2, 1, 3]))
    # By length: the second text (token 2), the first (0, 1), the third (3, 4, 5).
    assert group.grid_S.tolist() == [2, 2, 2, 0, 1, 1, 3, 4, 5]
    assert group.slots_n.tolist() == [0, 3, 4, 6, 7, 8]
    assert group.tokens_n.tolist() == [2, 0, 1, 3, 4, 5]
    out = -math.inf
    assert group.mask_G1L is not None
    assert group.mask_G1L.squeeze().tolist() == [[0, out, out], [0, 0, out], [0, 0, 0]]


def test_layout_of_equal_lengths_needs_no_mask() -> None:
    (group,) = layout(torch.tensor([4, 4]))
    assert group.mask_G1L is None
    assert group.grid_S.tolist() == list(range(8))


def test_groups_hold_every_token_once_and_are_no_longer_than_their_longest_text() -> None:
    groups = layout(torch.tensor(MANY))
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


def test_bf16_copies_are_renewed_by_base_changes_only_while_lora_learns() -> None:
    (part,) = with_lora(layers(8), rank=2)
    x = noise(5, 16, dtype=torch.bfloat16)
    part(x)
    copy = part.__dict__["_remade"][kernels.joined][1]
    assert part.lora is not None
    with torch.no_grad():
        part.lora.b.add_(1)
    part(x)
    assert part.__dict__["_remade"][kernels.joined][1] is copy


# --- linear without bias -----------------------------------------------------------------------


@pytest.mark.parametrize("widths", [(8,), (16, 16, 16)])
@pytest.mark.parametrize("onednn", [True, False])
@BOTH
def test_linear_without_biases_equals_the_products_alone(
    widths: tuple[int, ...], onednn: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "_ONEDNN", onednn and kernels._ONEDNN)
    torch.manual_seed(0)
    parts = [Linear(16, width, bias=False) for width in widths]
    assert [name for name, _ in parts[0].named_parameters()] == ["weight"]
    x, weight = noise(9, 16, dtype=dtype).requires_grad_(), noise(9, sum(widths), seed=1)
    exact = x.detach().double().requires_grad_()
    plain = torch.cat([part.weight.detach() for part in parts]).double().requires_grad_()
    found, wanted = linear(x, parts), exact @ plain.T
    torch.autograd.backward((found.float() * weight).sum())
    torch.autograd.backward((wanted * weight).sum())

    tolerance = 1e-6 if dtype == torch.float32 else 0.01
    assert relative(found, wanted) < tolerance
    assert x.grad is not None
    assert exact.grad is not None
    assert plain.grad is not None
    assert relative(x.grad, exact.grad) < tolerance
    gradient = torch.cat([part.weight.grad for part in parts if part.weight.grad is not None])
    assert gradient.dtype == torch.float32
    assert relative(gradient, plain.grad) < tolerance
    with torch.inference_mode():
        assert relative(linear(x, parts), wanted) < tolerance
        assert relative(linear(x, parts, gelu=True), F.gelu(wanted)) < tolerance


# --- linear with LoRA --------------------------------------------------------------------------


def with_lora(
    parts: list[Linear], rank: int, *, scale: float = 2.0, drop: float = 0.0, on: str = "111"
) -> list[Linear]:
    """The layers with pairs, neither half of which is zero, where `on` says 1."""
    for seed, (part, chosen) in enumerate(zip(parts, on, strict=False)):
        if chosen == "1":
            pair = LoraPair(part.in_features, part.out_features, rank, scale * rank, drop)
            part.lora = pair
            with torch.no_grad():
                pair.a.copy_(noise(*pair.a.shape, seed=seed) / 4)
                pair.b.copy_(noise(*pair.b.shape, seed=seed + 9) / 4)
    return parts


def lora_formula(
    x: Tensor, state: dict[str, Tensor], parts: list[Linear], masks: list[Tensor | None]
) -> Tensor:
    """x W^T + bias + scale (x mask) A^T B^T of each layer, from float64 values by name."""
    columns, drawn = [], iter(masks)
    for place, part in enumerate(parts):
        y = F.linear(x, state[f"{place}.weight"], state[f"{place}.bias"])
        if part.lora is not None:
            mask = next(drawn, None)
            seen = x if mask is None else x * mask
            y = (
                y
                + part.lora.scale * (seen @ state[f"{place}.lora.a"].T) @ state[f"{place}.lora.b"].T
            )
        columns.append(y)
    return torch.cat(columns, dim=1)


@pytest.mark.parametrize(("widths", "on"), [((8,), "1"), ((16, 16, 16), "111"), ((3, 5, 1), "010")])
@pytest.mark.parametrize("onednn", [True, False])
@pytest.mark.parametrize("drop", [0.0, 0.4])
@pytest.mark.parametrize("frozen", [True, False])
@BOTH
def test_lora_equals_its_formula_in_values_and_gradients(
    widths: tuple[int, ...],
    on: str,
    onednn: bool,
    drop: float,
    frozen: bool,
    dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kernels, "_ONEDNN", onednn and kernels._ONEDNN)
    parts = with_lora(layers(*widths), rank=3, drop=drop, on=on)
    holder = nn.ModuleList(parts)
    for name, parameter in holder.named_parameters():
        parameter.requires_grad_("lora" in name or not frozen)
    x, weight = noise(9, 16, dtype=dtype).requires_grad_(), noise(9, sum(widths), seed=1)
    torch.manual_seed(5)
    found = linear(x, parts)
    torch.manual_seed(5)
    masks = [dropout_mask(x.shape, drop, dtype).double() if drop else None for _ in parts]
    exact = x.detach().double().requires_grad_()
    state = {
        name: parameter.detach().double().requires_grad_(parameter.requires_grad)
        for name, parameter in holder.named_parameters()
    }
    wanted = lora_formula(exact, state, parts, masks)
    torch.autograd.backward((found.float() * weight).sum())
    torch.autograd.backward((wanted * weight).sum())

    tolerance = 1e-6 if dtype == torch.float32 else 0.02
    assert found.dtype == dtype
    assert relative(found, wanted) < tolerance
    assert x.grad is not None
    assert exact.grad is not None
    assert relative(x.grad, exact.grad) < tolerance
    for name, parameter in holder.named_parameters():
        target = state[name].grad
        assert (parameter.grad is None) == (target is None), name
        if parameter.grad is not None and target is not None:
            assert parameter.grad.dtype == torch.float32
            assert relative(parameter.grad, target) < tolerance, name
    with torch.no_grad():  # dropout acts here too, as long as the layers are in training
        torch.manual_seed(5)
        assert relative(linear(x, parts), wanted) < tolerance


@given(
    widths=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    inputs=st.integers(1, 12),
    rank=st.integers(1, 5),
    scale=st.floats(0.1, 4.0),
    gelu=st.booleans(),
)
@settings(max_examples=40)
def test_prediction_folds_lora_into_the_weights_without_changing_the_function(
    widths: list[int], inputs: int, rank: int, scale: float, gelu: bool
) -> None:
    torch.manual_seed(0)
    parts = with_lora([Linear(inputs, width) for width in widths], rank, scale=scale)
    x = noise(6, inputs)
    unfolded = linear(x, parts, gelu=gelu)
    with torch.inference_mode():
        folded = linear(x, parts, gelu=gelu)
        low = linear(x.bfloat16(), parts, gelu=gelu)
    assert (folded - unfolded).abs().max() <= 1e-5 * (1 + unfolded.abs().max())
    assert (low - unfolded).abs().max() <= 0.05 * (1 + unfolded.abs().max())
    assert kernels._packed in parts[0].__dict__["_remade"]


@pytest.mark.parametrize("onednn", [True, False])
@BOTH
def test_prediction_follows_every_change_of_lora(
    onednn: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "_ONEDNN", onednn and kernels._ONEDNN)
    parts = layers(8, 8)
    x = noise(5, 16, dtype=dtype)
    with torch.no_grad():
        plain = linear(x, parts)
        with_lora(parts, rank=2, on="01")
        seen = [plain, linear(x, parts)]
        assert parts[1].lora is not None
        for parameter in parts[1].lora.parameters():
            parameter.mul_(2)
            seen.append(linear(x, parts))
    for before, after in itertools.pairwise(seen):
        assert torch.equal(before[:, :8], after[:, :8])
        assert not torch.equal(before[:, 8:], after[:, 8:])
    assert relative(linear(x, parts), seen[-1]) < (1e-5 if dtype == torch.float32 else 0.02)


class Shapes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Shapes of everything that is computed, views left out."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and not result._is_view():
            self.found.append(tuple(result.shape))
        return result


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("lora", [True, False])
@BOTH
def test_no_gradient_of_frozen_weights_is_computed(
    frozen: bool, lora: bool, dtype: torch.dtype
) -> None:
    parts = with_lora(layers(7, 6), rank=2, on="11" if lora else "")
    for part in parts:
        part.weight.requires_grad_(not frozen)  # biases go on learning
    x = noise(9, 16, dtype=dtype).requires_grad_()
    loss = linear(x, parts).float().sum()
    with Shapes() as shapes:
        torch.autograd.backward(loss)
    assert ((13, 16) in shapes.found) == (not frozen)
    assert all(part.bias.grad is not None for part in parts)


@pytest.mark.parametrize("again", [deepcopy, lambda part: pickle.loads(pickle.dumps(part))])
def test_a_layer_that_has_answered_can_be_copied_and_its_copy_makes_its_own(
    again: Callable[[Linear], Linear],
) -> None:
    """oneDNN's own order of a weight, which prediction in fp32 makes, cannot be copied."""
    part, x = Linear(16, 8), torch.randn(3, 16)
    with torch.no_grad():
        wanted = part(x)
        other = again(part)
        assert torch.equal(other(x), wanted)
        part.weight.mul_(2)
        assert torch.equal(other(x), wanted)
        assert not torch.equal(part(x), wanted)
