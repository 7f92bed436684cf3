"""The layers' kernels for a GPU: who gets them, and, interpreted, what they say.

Triton runs kernels on a CPU, slowly, if it is told so before it is loaded:
TRITON_INTERPRET=1 python -m pytest tests/model/test_fused.py
"""

import os
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest
import torch

from tests.support.fused import (
    OnCpu,
    check_beside,
    check_gelu,
    check_layers,
    check_norm,
    check_short,
    dropout,
    kept,
    kept_weights,
    noise,
    random_encoder,
)
from tests.support.processes import modules_after
from trivium.model.attention import Stream
from trivium.model.encoder import Encoder
from trivium.model.fused import launch, layers
from trivium.model.fused.layer import How
from trivium.model.lowrank import LoraPair

CPU = torch.device("cpu")
SIZES = [(1, 32), (7, 384), (33, 768), (5, 1024), (9, 33)]
interpreted = pytest.mark.skipif(
    find_spec("triton") is None or os.environ.get("TRITON_INTERPRET") != "1",
    reason="Triton is not installed, or not told to interpret (TRITON_INTERPRET=1)",
)
# Of the interpreter with newer versions of NumPy.
warned = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(autouse=True)
def numbers_of_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton's interpreter (3.6) wants a number of an array of one, which NumPy 2.4 refuses."""
    if os.environ.get("TRITON_INTERPRET") != "1" or find_spec("triton") is None:
        return
    interpreter: Any = import_module("triton.runtime.interpreter")
    own = interpreter._patch_lang_tensor

    def patched(tensor: Any, scope: Any) -> None:
        own(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    monkeypatch.setattr(interpreter, "_patch_lang_tensor", patched)


# --- who gets them -----------------------------------------------------------------------------


def suited(encoder: Encoder, dtype: torch.dtype = torch.bfloat16) -> bool:
    config = encoder.config
    modules = [layer.modules_of() for layer in encoder.encoder.layers]
    x_ND = torch.zeros(4, config.hidden_size, dtype=dtype)
    return layers.suits(x_ND, modules, config.num_attention_heads)


def test_layers_in_bf16_have_kernels_and_others_have_not() -> None:
    assert suited(random_encoder(32, 2, 48))
    assert suited(random_encoder(1024, 16, 64, layers=1))
    assert not suited(random_encoder(32, 2, 48), torch.float32)
    assert not suited(random_encoder(1152, 16, 64, layers=1))
    assert not suited(random_encoder(36, 3, 48))  # a head of 12
    assert not suited(random_encoder(32, 2, 48).bfloat16())


def test_layers_with_lora_have_none_unless_it_is_merged() -> None:
    encoder = random_encoder(32, 2, 48)
    part = next(encoder.encoder.layers).modules_of().inner
    part.lora = LoraPair(32, 48, 2, 4.0)
    assert not suited(encoder)
    part.lora.merged = True
    assert suited(encoder)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_there_are_no_kernels_without_a_gpu() -> None:
    assert not layers.is_there()


def test_kernels_are_used_where_they_work_and_are_not_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TRIVIUM_TRITON", raising=False)
    monkeypatch.setattr(layers, "_works", lambda: True)
    assert layers.is_there()
    monkeypatch.setenv("TRIVIUM_TRITON", "0")
    assert not layers.is_there()
    monkeypatch.setenv("TRIVIUM_TRITON", "1")
    assert layers.is_there()
    monkeypatch.setattr(layers, "_works", lambda: False)
    assert not layers.is_there()


@pytest.mark.thorough
def test_an_encoder_on_a_cpu_loads_no_triton() -> None:
    found = modules_after("import trivium.model.encoder")
    assert "trivium.model.fused.layers" in found
    assert not {"triton", "trivium.model.fused.kernels"} & set(found)


# --- what they say -----------------------------------------------------------------------------


@interpreted
@warned
@pytest.mark.parametrize("p", [0.0, 0.1, 0.5])
@pytest.mark.parametrize(("tokens", "width"), SIZES)
def test_norm_and_its_way_back_are_the_formula(tokens: int, width: int, p: float) -> None:
    check_norm(tokens, width, dropout(p, CPU))


@interpreted
@warned
@pytest.mark.parametrize(("tokens", "width"), [*SIZES, (6, 1536)])
def test_the_way_back_through_gelu_is_the_formula(tokens: int, width: int) -> None:
    check_gelu(tokens, width, CPU)


@interpreted
@warned
@pytest.mark.parametrize(("tokens", "width"), SIZES)
def test_three_matrices_come_side_by_side(tokens: int, width: int) -> None:
    check_beside(tokens, width, CPU)


@interpreted
@warned
@pytest.mark.parametrize("programs", [1, 2, 3])
def test_programs_share_the_rows(programs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "PROGRAMS", programs)
    check_norm(33, 40, dropout(0.3, CPU))
    check_gelu(33, 40, CPU)
    check_beside(33, 40, CPU)


@interpreted
@warned
def test_sums_of_many_programs_are_added_up() -> None:
    sums = launch.Sums(4 * 130, [40, 3], CPU)
    assert sums.programs == 130
    places = [part.place for part in sums.parts]
    for place in places:
        place.copy_(noise(*place.shape, seed=1, device=CPU))
    wanted = [place.double().sum(0) for place in places]
    for found, one in zip(sums.added(), wanted, strict=True):
        torch.testing.assert_close(found.double(), one, atol=1e-5, rtol=1e-5)


@interpreted
@warned
@pytest.mark.parametrize("p", [0.1, 0.5])
def test_dropout_drops_its_share_each_number_by_itself(p: float) -> None:
    mask_ND = kept(dropout(p, CPU), 120, 512) > 0
    count = mask_ND.numel()
    assert abs(float((~mask_ND).double().mean()) - p) < 5 * (p * (1 - p) / count) ** 0.5
    four = mask_ND.double().view(30, 4, 512).transpose(0, 1).reshape(4, -1)
    assert (torch.corrcoef(four) - torch.eye(4)).abs().max() < 0.04
    assert abs(float(torch.corrcoef(torch.stack([four[0, 1:], four[0, :-1]]))[0, 1])) < 0.04


@interpreted
@warned
def test_a_mask_is_a_function_of_seed_and_place() -> None:
    first = kept(dropout(0.5, CPU), 8, 64)
    assert torch.equal(kept(dropout(0.5, CPU), 8, 64), first)
    assert not torch.equal(kept(dropout(0.5, CPU, seed=12), 8, 64), first)
    assert not torch.equal(kept(dropout(0.5, CPU, place=4), 8, 64), first)
    # A row keeps its mask whatever comes after it.
    assert torch.equal(kept(dropout(0.5, CPU), 3, 64), first[:3])


@interpreted
@warned
@pytest.mark.parametrize("p", [0.0, 0.3])
@pytest.mark.parametrize(
    ("lengths", "heads", "size"), [((7, 1, 12, 3), 2, 32), ((33, 2), 3, 16), ((1, 5), 1, 64)]
)
def test_attention_of_short_texts_is_the_formula(
    lengths: tuple[int, ...], heads: int, size: int, p: float
) -> None:
    check_short(lengths, heads, size, dropout(p, CPU))


@interpreted
@warned
def test_short_texts_may_be_empty_and_programs_share_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the texts that fill a recorded graph's stream up, some have nothing."""
    monkeypatch.setattr(launch, "PROGRAMS", 2)
    check_short((4, 0, 9, 0, 17), 2, 32, dropout(0.3, CPU))


@interpreted
@warned
def test_dropout_drops_its_share_of_weights_each_by_itself() -> None:
    lengths = torch.full((24,), 32)
    told = launch.Told(Stream.of(lengths, 32), 4, dropout(0.3, CPU))
    kept_THLL = torch.stack(kept_weights(told, 128)) > 0
    count = kept_THLL.numel()
    assert abs(float((~kept_THLL).double().mean()) - 0.3) < 5 * (0.21 / count) ** 0.5
    apart = torch.corrcoef(kept_THLL.double().flatten(0, 1).view(96, -1))
    assert (apart - torch.eye(96)).abs().max() < 0.18  # of texts and heads
    for axis in (2, 3):
        rows = torch.corrcoef(kept_THLL.double().transpose(0, axis).reshape(32, -1))
        assert (rows - torch.eye(32)).abs().max() < 0.1


@interpreted
@warned
@pytest.mark.parametrize("p", [0.0, 0.3])
def test_layers_and_their_way_back_are_those_of_bert(p: float) -> None:
    encoder = random_encoder(64, 4, 96)
    check_layers(encoder, (7, 1, 12, 3), How(4, 1e-12, p, 0.0, OnCpu()))


@interpreted
@warned
def test_what_is_frozen_gets_no_gradient() -> None:
    encoder = random_encoder(32, 2, 48)
    for name, parameter in encoder.named_parameters():
        parameter.requires_grad_("layer.0." not in name and "query" not in name)
    modules = [layer.modules_of() for layer in encoder.encoder.layers]
    stream = Stream.of(torch.tensor([3, 5]), 5)
    x_ND = noise(8, 32, seed=0, device=CPU)
    hidden_ND = layers.encode(x_ND, stream, modules, How(2, 1e-12, 0.1, 0.0, OnCpu()))
    torch.autograd.backward(hidden_ND.float().sum())
    learned = {name for name, p in encoder.encoder.named_parameters() if p.grad is not None}
    wanted = {name for name, p in encoder.encoder.named_parameters() if p.requires_grad}
    assert learned == wanted
    assert x_ND.grad is None


@interpreted
@warned
def test_a_pass_without_gradient_says_the_same() -> None:
    encoder = random_encoder(32, 2, 48)
    modules = [layer.modules_of() for layer in encoder.encoder.layers]
    stream, how = Stream.of(torch.tensor([3, 5]), 5), How(2, 1e-12, 0.2, 0.0, OnCpu())
    x_ND = noise(8, 32, seed=0, device=CPU).requires_grad_()
    torch.manual_seed(3)
    hidden_ND = layers.encode(x_ND, stream, modules, how)
    torch.manual_seed(3)
    with torch.no_grad():
        assert torch.equal(layers.encode(x_ND, stream, modules, how), hidden_ND)
