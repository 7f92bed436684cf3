"""A pass through an encoder of which the lower layers learn nothing."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from tests.support.native import kernels, kernels_precision
from tests.support.tensors import packed
from trivium.model.encoder import Encoder, EncoderConfig

WAYS = ("compiled", "bf16", "fp32")
TEXTS = [[3, 5, 7], [9], list(range(20, 57)), [4] * 16, [8, 2] * 10]
CONFIG = EncoderConfig(
    vocab_size=60, hidden_size=32, num_hidden_layers=3, num_attention_heads=2,
    intermediate_size=64, max_position_embeddings=64,
)  # fmt: skip


@contextmanager
def saved() -> Iterator[list[Tensor]]:
    """What PyTorch keeps for backward passes."""
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield kept


@pytest.fixture(params=WAYS)
def model(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Encoder:
    """Three layers with dropout."""
    if request.param == "compiled":
        kernels()
    monkeypatch.setenv("TRIVIUM_NATIVE", "1" if request.param == "compiled" else "0")
    torch.manual_seed(0)
    made = Encoder(CONFIG)
    precisions = {"compiled": kernels_precision(), "bf16": torch.bfloat16, "fp32": torch.float32}
    made.precision = precisions[request.param]
    return made


def gradients(model: Encoder) -> dict[str, Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def let_learn(model: Encoder, *layers: int) -> None:
    model.requires_grad_(False)
    for layer in layers:
        model.encoder.layer[layer].requires_grad_(True)


def kept_of_layers(model: Encoder) -> int:
    """Tensors, or compiled layers, that are kept for the way back through the layers."""
    with saved() as kept:
        hidden_ND = model(packed(TEXTS))
    work = getattr(hidden_ND.grad_fn, "work", None)
    return len(kept) if work is None else len(work.kept)


def test_nothing_is_kept_of_layers_below_the_lowest_that_learns(model: Encoder) -> None:
    let_learn(model, 0, 1, 2)
    whole = kept_of_layers(model)
    let_learn(model, 2)
    assert 3 * kept_of_layers(model) == whole
    let_learn(model, 1)  # what stands above it is on the way
    assert 3 * kept_of_layers(model) == 2 * whole
    let_learn(model)
    assert kept_of_layers(model) == 0
    assert not model(packed(TEXTS)).requires_grad


def test_the_gradients_of_the_top_layers_are_those_with_the_lower_ones_learning(
    model: Encoder,
) -> None:
    tokens, found = packed(TEXTS), []
    for layers in ((0, 1, 2), (1, 2)):
        let_learn(model, *layers)
        torch.manual_seed(5)
        model.zero_grad()
        hidden_ND = model(tokens)
        weight_ND = torch.randn(hidden_ND.shape, generator=torch.Generator().manual_seed(1))
        torch.autograd.backward((hidden_ND.float() * weight_ND).sum())
        found.append((hidden_ND, gradients(model)))
    (whole, right), (top, grads) = found
    assert torch.equal(top, whole)
    assert sorted(grads) == [n for n in sorted(right) if not n.startswith("encoder.layer.0.")]
    for name, grad in grads.items():
        assert torch.equal(grad, right[name]), name


def test_a_gradient_of_the_input_goes_all_the_way_down(model: Encoder) -> None:
    let_learn(model)
    tokens = packed(TEXTS)
    x_ND = model.embed(tokens).requires_grad_()
    torch.autograd.backward(model.encode(x_ND, tokens, "").float().square().sum())
    assert x_ND.grad is not None
    assert x_ND.grad.abs().sum() > 0
    assert not gradients(model)


def test_compiled_weights_are_laid_out_for_the_way_back_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    form = kernels().form
    monkeypatch.setenv("TRIVIUM_NATIVE", "1")
    torch.manual_seed(0)
    model, tokens = Encoder(CONFIG).eval(), packed(TEXTS)
    model.precision = form.numbers
    found = []
    for layers in ((), (2,), (0, 1, 2), (1,)):
        let_learn(model, *layers)
        model.zero_grad()
        hidden_ND = model(tokens)
        if layers:
            torch.autograd.backward(hidden_ND.float().square().sum())
            with torch.no_grad():  # other values, for the next round
                model.encoder.layer[layers[-1]].get_parameter("output.dense.bias").add_(0.1)
        laid_out = [each.inner.back is not None for each in model._stack(form).weights]
        found.append((laid_out, len(gradients(model))))
    none, top, whole, middle = found
    assert none == ([False] * 3, 0)
    assert top == ([False, False, True], 16)
    assert whole == ([True] * 3, 48)
    assert middle[1] == 16
