"""The compiled layers against the same layers in PyTorch."""

import copy
import gc
import math
import pickle
import weakref
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from tests.support.native import KINDS, kernels, kernels_precision, switched, threads
from tests.support.tensors import packed, relative
from trivium.model.encoder import Encoder, EncoderConfig
from trivium.model.kernels import Linear
from trivium.model.lora import add_lora, lora_layers, merge_lora, module_names
from trivium.model.native import library as opened
from trivium.types import Tokens

EVERY_KIND = pytest.mark.parametrize("kind", list(KINDS))
TEXTS = [[3, 5, 7], [9], list(range(20, 57)), [4] * 16, [8, 2] * 10]
Grads = dict[str, Tensor]


def encoder(
    dropout: float = 0.0, width: int = 96, heads: int = 3, inner: int = 160, seed: int = 0
) -> Encoder:
    torch.manual_seed(seed)
    made = Encoder(
        EncoderConfig(
            vocab_size=60,
            hidden_size=width,
            num_hidden_layers=3,
            num_attention_heads=heads,
            intermediate_size=inner,
            max_position_embeddings=64,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
        )
    )
    for name, parameter in made.named_parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter, 1.0 if "LayerNorm.weight" in name else 0.0, 0.3)
    made.precision = kernels_precision()
    return made


def trained(model: Encoder, tokens: Tokens, *, first_only: bool = False) -> tuple[Tensor, Grads]:
    """Hidden vectors, and the gradients of a random weighting of those of first tokens."""
    model.zero_grad()
    hidden_ND = model(tokens, first_only=first_only)
    starts_R = tokens.lengths_R.cumsum(0) - tokens.lengths_R
    read_RD = hidden_ND[starts_R]
    read_RD = read_RD.float() if read_RD.dtype == torch.bfloat16 else read_RD
    weight_RD = torch.randn(read_RD.shape, generator=torch.Generator().manual_seed(1))
    torch.autograd.backward((read_RD * weight_RD).sum())
    return hidden_ND.detach(), gradients(model)


def gradients(model: nn.Module) -> Grads:
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def native(model: Encoder, tokens: Tokens, kind: str = "") -> tuple[Tensor, Grads]:
    model.precision = kernels(kind).form.numbers
    with switched(KINDS[kind] if kind else "1"):
        return trained(model, tokens)


def exact(model: Encoder, tokens: Tokens) -> tuple[Tensor, Grads]:
    """In PyTorch, in float64."""
    other = copy.deepcopy(model).double()
    other.precision = torch.float64
    hidden_ND, grads = trained(other, tokens)
    return hidden_ND, {name: grad.double() for name, grad in grads.items()}


def told(grads: Grads) -> Grads:
    """Without those that are zero but for rounding: scores do not change with a key's bias."""
    return {name: grad for name, grad in grads.items() if not name.endswith("key.bias")}


# --- the same as in PyTorch --------------------------------------------------------------------


@EVERY_KIND
@pytest.mark.parametrize(("width", "heads", "inner"), [(96, 3, 160), (32, 2, 64), (128, 2, 512)])
def test_values_and_gradients_are_as_near_to_float64_as_pytorchs(
    kind: str, width: int, heads: int, inner: int
) -> None:
    model, tokens = encoder(width=width, heads=heads, inner=inner), packed(TEXTS)
    right, right_grads = exact(model, tokens)
    model.precision = kernels(kind).form.numbers
    with switched("0"):
        plain, plain_grads = trained(model, tokens)
    found, grads = native(model, tokens, kind)
    low = model.precision == torch.bfloat16
    assert relative(found, right) < (1.1 if low else 2) * relative(plain, right)
    assert grads.keys() == right_grads.keys()

    def error(ours: Grads) -> float:
        errors = [relative(ours[name], grad) for name, grad in told(right_grads).items()]
        return sum(errors) / len(errors)

    # In bf16 nearer, since what runs through the residuals stays in fp32.
    assert error(grads) < (1 if low else 2) * error(plain_grads) < (0.02 if low else 4e-6)
    worst = max(relative(grads[name], grad) for name, grad in told(right_grads).items())
    assert worst < (0.03 if low else 1e-5)


def test_the_last_layer_on_first_tokens_alone_changes_no_bit_of_them_nor_of_any_gradient() -> None:
    model, tokens = encoder(dropout=0.1), packed(TEXTS)
    kernels()
    starts_R = tokens.lengths_R.cumsum(0) - tokens.lengths_R
    model.eval()  # dropout's masks of the last layer are drawn by row, of which there are fewer
    (whole, whole_grads), (first, grads) = (
        trained(model, tokens, first_only=only) for only in (False, True)
    )
    assert torch.equal(first[starts_R], whole[starts_R])
    others = torch.ones(len(first), dtype=torch.bool)
    others[starts_R] = False
    assert not first[others].any()
    assert grads.keys() == whole_grads.keys()
    for name, grad in told(whole_grads).items():
        assert relative(grads[name], grad) < 1e-5, name
    with torch.no_grad():
        assert torch.equal(model(tokens, first_only=True), first)


def test_a_pass_that_learns_and_one_that_predicts_give_the_same_bits() -> None:
    model, tokens = encoder(dropout=0.1).eval(), packed(TEXTS)
    kernels()
    learning = model(tokens).detach()
    with torch.inference_mode():
        assert torch.equal(model(tokens), learning)
    texts = [model(packed([text])).detach() for text in TEXTS]
    for alone, together in zip(texts, learning.split([len(t) for t in TEXTS]), strict=True):
        torch.testing.assert_close(alone, together, rtol=0, atol=0)


@pytest.mark.parametrize("number", [2, 5])
def test_a_training_pass_gives_the_same_bits_with_any_number_of_threads(number: int) -> None:
    model, tokens = encoder(dropout=0.1), packed(TEXTS * 4)

    def run() -> tuple[Tensor, Grads]:
        torch.manual_seed(7)
        return native(model, tokens)

    (alone, alone_grads), _ = run(), None
    with threads(number):
        together, grads = run()
    assert torch.equal(alone, together)
    # The embeddings' are PyTorch's own, which sums as its threads come.
    for name in (name for name in grads if name.startswith("encoder.")):
        assert torch.equal(grads[name], alone_grads[name]), name


# --- dropout -----------------------------------------------------------------------------------


def test_dropout_comes_from_torchs_generator_also_where_nothing_is_learned() -> None:
    model, tokens = encoder(dropout=0.2), packed(TEXTS)
    kernels()

    def run(*, learns: bool) -> Tensor:
        torch.manual_seed(3)
        with nullcontext() if learns else torch.no_grad():
            hidden_ND: Tensor = model(tokens)
        return hidden_ND.detach()

    first = run(learns=True)
    assert torch.equal(run(learns=True), first)
    assert torch.equal(run(learns=False), first)
    assert not torch.equal(model(tokens).detach(), first)


def test_with_dropout_the_gradient_is_that_of_the_very_masks_of_the_forward_pass() -> None:
    model, tokens = encoder(dropout=0.2), packed(TEXTS)
    kernels()
    model.requires_grad_(False)
    weight = torch.randn(sum(map(len, TEXTS)), 96)
    x_ND = model.embed(tokens).requires_grad_()

    def value(x_ND: Tensor) -> Tensor:
        torch.manual_seed(5)
        return (model.encode(x_ND, tokens, "").double() * weight).sum()

    (slope,) = torch.autograd.grad(value(x_ND), x_ND)
    way = slope / slope.norm()
    with torch.no_grad():  # over a distance at which rounding is small beside the change
        difference = (value(x_ND + 0.5 * way) - value(x_ND - 0.5 * way)).item()
    assert difference == pytest.approx(slope.norm().item(), rel=0.1)


# --- with everything else ----------------------------------------------------------------------


def add_random_lora(model: Encoder, *, dropout: float = 0.0) -> None:
    names = module_names(model, ("query", "value", "output"))
    add_lora(model, names, rank=4, alpha=8, dropout=dropout)
    torch.manual_seed(2)
    for _, _, pair in lora_layers(model):
        nn.init.normal_(pair.b, std=0.2)


@EVERY_KIND
def test_lora_learns_as_in_pytorch_and_the_frozen_weights_beside_it_get_nothing(kind: str) -> None:
    model, tokens = encoder(), packed(TEXTS)
    add_random_lora(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora" in name)
    right, right_grads = exact(model, tokens)
    found, grads = native(model, tokens, kind)
    low = model.precision == torch.bfloat16
    assert relative(found, right) < (0.01 if low else 2e-6)
    assert grads.keys() == right_grads.keys()
    for name, grad in right_grads.items():
        assert relative(grads[name], grad) < (0.03 if low else 1e-5), name


def test_lora_with_dropout_of_its_input_takes_the_other_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, tokens = encoder(), packed(TEXTS)
    kernels()
    add_random_lora(model, dropout=0.3)
    assert not uses_native(model, tokens)
    assert uses_native(model.eval(), tokens)


def uses_native(model: Encoder, tokens: Tokens) -> bool:
    hidden_ND = model(tokens)
    return "_LayersBackward" in str(hidden_ND.grad_fn)


@pytest.mark.parametrize(
    "trains", ["encoder.layer.2.output", "LayerNorm", "bias", "layer.1.attention"]
)
def test_what_is_frozen_gets_no_gradient_and_what_is_not_the_same_as_ever(trains: str) -> None:
    model, tokens = encoder(), packed(TEXTS)
    _, everything = native(model, tokens)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trains in name)
    _, grads = native(model, tokens)
    assert grads.keys() == {name for name in everything if trains in name}
    for name, grad in grads.items():
        assert torch.equal(grad, everything[name]), name


def test_two_passes_of_a_step_add_their_gradients() -> None:
    model, one, other = encoder(), packed(TEXTS[:2]), packed(TEXTS[2:])
    _, first = native(model, one)
    _, second = native(model, other)
    model.zero_grad()
    with switched("1"):
        torch.autograd.backward([(model(t).float() * 0.5).sum() for t in (one, other)])
        together = gradients(model)
        model.zero_grad()
        for tokens in (one, other):
            torch.autograd.backward((model(tokens).float() * 0.5).sum())
    for name, grad in gradients(model).items():
        torch.testing.assert_close(together[name], grad, rtol=1e-5, atol=1e-6)
    assert first.keys() == second.keys() == together.keys()


@pytest.mark.parametrize("learns", [False, True])
def test_a_pass_with_other_weights_before_the_backward_pass_changes_no_gradient(
    learns: bool,
) -> None:
    model, tokens = encoder(), packed(TEXTS)
    _, right = native(model, tokens)
    model.zero_grad()
    with switched("1"):
        weight_RD = torch.randn(len(TEXTS), 96, generator=torch.Generator().manual_seed(1))
        starts_R = tokens.lengths_R.cumsum(0) - tokens.lengths_R
        loss = (model(tokens)[starts_R].float() * weight_RD).sum()
        own = {name: parameter.data for name, parameter in model.named_parameters()}
        for parameter in model.parameters():
            parameter.data = parameter.data * 1.5
        with nullcontext() if learns else torch.no_grad():
            model(tokens)
        for name, parameter in model.named_parameters():
            parameter.data = own[name]
        torch.autograd.backward(loss)
    grads = gradients(model)
    assert all(torch.equal(grads[name], right[name]) for name in right)


def test_a_second_backward_pass_is_refused_in_words() -> None:
    model, tokens = encoder(), packed(TEXTS)
    kernels()
    loss = model(tokens).float().sum()
    torch.autograd.backward(loss, retain_graph=True)
    with pytest.raises(RuntimeError, match="has run"):
        torch.autograd.backward(loss)


def test_gradients_of_gradients_are_refused_in_words() -> None:
    kernels()
    model, tokens = encoder(), packed(TEXTS)
    x_ND = model.embed(tokens).detach().requires_grad_()
    loss = model.encode(x_ND, tokens, "").float().square().sum()
    (grad_ND,) = torch.autograd.grad(loss, x_ND, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        torch.autograd.backward(grad_ND.sum())


def test_an_input_that_is_changed_in_place_before_the_backward_pass_is_refused() -> None:
    form, tokens = kernels().form, packed(TEXTS)
    model = encoder()
    x_ND = model.embed(tokens).detach().to(form.numbers)  # which needs no copy
    loss = model.encode(x_ND, tokens, "").float().sum()
    x_ND.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.backward(loss)


def test_a_pass_that_nothing_follows_is_freed_with_its_output() -> None:
    kernels()
    model = encoder()
    gc.disable()
    try:
        hidden_ND = model(packed(TEXTS))
        kept = weakref.ref(getattr(hidden_ND.grad_fn, "work"))  # noqa: B009 torch's own class
        assert kept() is not None
        del hidden_ND
        assert kept() is None
    finally:
        gc.enable()


# --- parameters that change --------------------------------------------------------------------


def changed_in_place(model: Encoder) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)


def stepped(model: Encoder) -> None:
    trained(model, packed(TEXTS))
    torch.optim.SGD(model.parameters(), lr=0.1).step()


def loaded(model: Encoder) -> None:
    model.load_state_dict(encoder(seed=9).state_dict())


def lora_merged(model: Encoder) -> None:
    merge_lora(model)
    with torch.no_grad():  # out of use, and so without effect
        for _, _, pair in lora_layers(model):
            pair.a.zero_()


def replaced(model: Encoder) -> None:
    part = model.get_submodule("encoder.layer.1.output.dense")
    assert isinstance(part, Linear)
    part.weight = nn.Parameter(part.weight.detach() * 0.5)


@pytest.mark.parametrize(
    "change", [changed_in_place, stepped, loaded, add_random_lora, lora_merged, replaced]
)
@pytest.mark.parametrize("learns", [False, True])
def test_changed_parameters_are_seen_by_the_next_pass(change: object, learns: bool) -> None:
    kernels()
    model, tokens = encoder(), packed(TEXTS)
    if change is lora_merged:
        add_random_lora(model)
    with torch.no_grad():
        model(tokens)
    assert callable(change)
    change(model)
    fresh = copy.deepcopy(model)
    fresh.__dict__.pop("_kept_stack", None)
    with nullcontext() if learns else torch.no_grad():
        assert torch.equal(model(tokens), fresh(tokens))


def test_a_copy_of_an_encoder_is_its_own() -> None:
    kernels()
    model, tokens = encoder(), packed(TEXTS)
    before = model(tokens).detach()
    other = copy.deepcopy(model)
    changed_in_place(other)
    assert not torch.equal(other(tokens), before)
    assert torch.equal(model(tokens), before)


# --- whether it is used ------------------------------------------------------------------------


def test_widths_that_the_kernels_do_not_have_take_the_other_way() -> None:
    kernels()
    tokens = packed(TEXTS)
    assert uses_native(encoder(), tokens)
    assert not uses_native(encoder(width=48, heads=3, inner=96), tokens)  # no multiple of 32
    assert not uses_native(encoder(width=96, heads=12, inner=96), tokens)  # heads of 8
    other = encoder()
    other.precision = {torch.bfloat16: torch.float32}.get(other.precision, torch.bfloat16)
    assert not uses_native(other, tokens)  # in which they do not compute
    with switched("0"):
        assert not uses_native(encoder(), tokens)


def test_a_missing_and_an_older_module_are_as_none(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels()
    elsewhere = tuple(path.with_name("nowhere.so") for path in opened.FILES)
    for attribute, value in (("FILES", elsewhere), ("INTERFACE", -1)):
        with monkeypatch.context() as patch:
            patch.setattr(opened, attribute, value)
            opened._opened.cache_clear()
            assert opened.library() is None
    opened._opened.cache_clear()
    assert opened.library() is not None


def test_no_text_at_all_and_texts_of_one_token_pass() -> None:
    model = encoder()
    found, grads = native(model, packed([[5], [6], [7]]))
    assert found.shape == (3, 96)
    assert all(math.isfinite(grad.sum()) for grad in grads.values())


@pytest.mark.parametrize("name", ["query.bias", "key.weight"])
def test_weights_that_are_no_numbers_give_no_numbers(name: str) -> None:
    kernels()
    model, tokens = encoder(), packed(TEXTS)
    with torch.no_grad():
        model.get_parameter(f"encoder.layer.0.attention.self.{name}").view(-1)[0] = torch.nan
        assert model(tokens).isnan().all()


def test_an_encoder_that_has_learned_can_be_pickled_and_answers_alike() -> None:
    model, tokens = encoder(), packed(TEXTS)
    native(model, tokens)
    other = pickle.loads(pickle.dumps(model))
    with torch.no_grad():
        assert torch.equal(other(tokens), model(tokens))


@pytest.mark.parametrize("learns", [False, True])
def test_parameters_that_kernels_cannot_read_are_refused_in_words(learns: bool) -> None:
    kernels()
    tokens = packed(TEXTS)
    strided, double = encoder(), encoder()
    bias = strided.get_submodule("encoder.layer.1.output.dense")
    assert isinstance(bias, Linear)
    bias.bias = nn.Parameter(torch.randn(192)[::2])
    double.encoder.double()
    for model in (strided, double):
        with nullcontext() if learns else torch.no_grad(), pytest.raises(TypeError, match="fp32"):
            model(tokens)


def test_no_layer_at_all_leaves_what_it_is_given() -> None:
    kernels()
    model, tokens = encoder(), packed(TEXTS)
    x_ND = model.embed(tokens)
    found = model.passed(x_ND, tokens, "", range(3, 3), first_only=True)
    assert torch.equal(found, x_ND.to(model.precision))
