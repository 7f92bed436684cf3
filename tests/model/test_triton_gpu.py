"""The layers' kernels on a GPU: against formulas, against the path without them, and in graphs."""

import os
from importlib.util import find_spec

import pytest
import torch
from torch import Tensor

from tests.support.fused import (
    check_beside,
    check_gelu,
    check_layers,
    check_norm,
    check_short,
    dropout,
    kept,
    noise,
    random_encoder,
)
from tests.support.tensors import packed, relative
from trivium.model.encoder import Encoder
from trivium.model.fused import launch, layers, short
from trivium.model.fused.layer import How
from trivium.types import Tokens

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
    pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed"),
    pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="Triton interprets"),
]
CUDA = torch.device("cuda")
SIZES = [(1, 32), (2049, 384), (3001, 1024), (300, 33)]
TEXTS = [[3, 5, 7], [9], list(range(20, 57)), [4] * 16, [8, 2] * 10]
OTHERS = [[5] * 40, [7, 8], [1, 2, 3], [50] * 9, [11] * 30]
LONG = [[3, 4, 5], list(range(3, 53)) * 2]
"""With a text that the kernels of short texts leave to FlashAttention."""
LENGTHS = (7, 64, 1, 30, 128, 19)
Grads = dict[str, Tensor]


@pytest.fixture(autouse=True)
def kernels_are_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRIVIUM_TRITON", raising=False)


@pytest.fixture(params=[False, True], ids=["eager", "graphs"])
def graphs(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def on_gpu(p: float = 0.0, *, attention_p: float = 0.0, graphs: bool = False) -> Encoder:
    model = random_encoder(96, 3, 160, p=p, attention_p=attention_p, layers=3).to(CUDA)
    model.precision = torch.bfloat16
    model.graphs = model.recorded() if graphs else None
    return model


def trained(model: Encoder, tokens: Tokens) -> tuple[Tensor, Grads]:
    """Hidden vectors, and the gradients of a random weighting of them."""
    model.zero_grad()
    hidden_ND = model(tokens.to(model.embeddings.word_embeddings.weight.device)).float()
    weight_ND = torch.randn(hidden_ND.shape, generator=torch.Generator().manual_seed(1))
    torch.autograd.backward((hidden_ND * weight_ND.to(hidden_ND.device)).sum())
    named = model.named_parameters()
    return hidden_ND.detach().cpu(), {
        n: p.grad.cpu().clone() for n, p in named if p.grad is not None
    }


# --- kernels -----------------------------------------------------------------------------------


def test_triton_works_here() -> None:
    assert layers.is_there()


@pytest.mark.parametrize("p", [0.0, 0.1])
@pytest.mark.parametrize(("tokens", "width"), SIZES)
def test_norm_and_its_way_back_are_the_formula(tokens: int, width: int, p: float) -> None:
    check_norm(tokens, width, dropout(p, CUDA))


@pytest.mark.parametrize(("tokens", "width"), [*SIZES, (2500, 4096)])
def test_the_way_back_through_gelu_is_the_formula(tokens: int, width: int) -> None:
    check_gelu(tokens, width, CUDA)


@pytest.mark.parametrize(("tokens", "width"), SIZES)
def test_three_matrices_come_side_by_side(tokens: int, width: int) -> None:
    check_beside(tokens, width, CUDA)


@pytest.mark.parametrize("p", [0.0, 0.3])
@pytest.mark.parametrize(
    ("lengths", "heads", "size"),
    [((7, 1, 12, 3), 2, 32), ((33, 2, 64), 12, 64), ((1, 5), 1, 16), ((25, 0, 31, 0) * 60, 3, 32)],
)
def test_attention_of_short_texts_is_the_formula(
    lengths: tuple[int, ...], heads: int, size: int, p: float
) -> None:
    check_short(lengths, heads, size, dropout(p, CUDA))


def test_a_mask_is_a_function_of_seed_and_place_and_drops_its_share() -> None:
    first = kept(dropout(0.1, CUDA), 4000, 384)
    assert torch.equal(kept(dropout(0.1, CUDA), 4000, 384), first)
    assert not torch.equal(kept(dropout(0.1, CUDA, place=4), 4000, 384), first)
    share = float((first == 0).double().mean())
    assert abs(share - 0.1) < 5 * (0.09 / first.numel()) ** 0.5


@pytest.mark.parametrize("width", [96, 384, 1024])
def test_every_run_of_the_kernels_is_the_same_to_the_bit(width: int) -> None:
    given = dropout(0.2, CUDA)
    x_ND, y_ND, grad_ND = (noise(3001, width, seed=s, device=CUDA) for s in range(3))
    weight_D = noise(width, seed=3, device=CUDA).float()

    def run() -> list[Tensor]:
        out_ND, moments = launch.norm(x_ND, y_ND, launch.Norm(weight_D, weight_D, 1e-12), given)
        sums = launch.Sums(3001, [3 * width, width, 3 * width], CUDA)
        one = launch.Normed(x_ND, y_ND, weight_D, given, moments)
        back = launch.norm_back(grad_ND, one, sums.parts[0])
        launch.gelu_back_(grad_ND.clone(), x_ND, sums.parts[1])
        launch.beside((x_ND, y_ND, grad_ND), sums.parts[2])
        return [out_ND, *back, *sums.added()]

    first = run()
    for _ in range(5):
        assert all(torch.equal(*both) for both in zip(run(), first, strict=True))


# --- layers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.0, 0.3])
@pytest.mark.parametrize(("width", "heads", "inner"), [(64, 4, 96), (384, 12, 1536)])
def test_layers_with_short_texts_are_those_of_bert(
    width: int, heads: int, inner: int, p: float
) -> None:
    encoder = random_encoder(width, heads, inner).to(CUDA)
    check_layers(encoder, (7, 64, 1, 30, 19), How(heads, 1e-12, p, 0.0, short))


@pytest.mark.parametrize("p", [0.0, 0.3])
@pytest.mark.parametrize(
    ("width", "heads", "inner"), [(64, 4, 96), (384, 12, 1536), (1024, 16, 72)]
)
def test_layers_and_their_way_back_are_those_of_bert(
    width: int, heads: int, inner: int, p: float
) -> None:
    encoder = random_encoder(width, heads, inner).to(CUDA)
    check_layers(encoder, LENGTHS, How(heads, 1e-12, p, 0.0))


@pytest.mark.parametrize("texts", [TEXTS, OTHERS, LONG, [[3, 4, 5]]])
def test_a_pass_is_as_near_to_double_precision_as_without_the_kernels(
    texts: list[list[int]], graphs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = packed(texts)
    exact = random_encoder(96, 3, 160, layers=3).double()
    exact.precision = torch.float64
    wanted_ND, wanted = trained(exact, tokens)
    found_ND, found = trained(on_gpu(graphs=graphs), tokens)
    monkeypatch.setenv("TRIVIUM_TRITON", "0")
    plain_ND, plain = trained(on_gpu(), tokens)
    assert not torch.equal(found_ND, plain_ND)  # the kernels had their part
    assert relative(found_ND, wanted_ND) < 1.1 * relative(plain_ND, wanted_ND)
    assert found.keys() == plain.keys() == wanted.keys()
    for name, grad in wanted.items():
        if not name.endswith("key.bias"):  # rounding: scores do not change with it
            limit = 1.5 * relative(plain[name], grad) + 2e-3
            assert relative(found[name], grad) < limit, name


def test_a_run_with_dropout_is_repeated_to_the_bit(graphs: bool) -> None:
    """Texts are short, since FlashAttention's way back adds up long ones in no fixed order."""
    model, tokens = on_gpu(0.2, attention_p=0.2, graphs=graphs), packed(TEXTS)
    trained(model, tokens)
    torch.cuda.manual_seed(5)
    runs = [trained(model, tokens) for _ in range(2)]
    torch.cuda.manual_seed(5)
    again = [trained(model, tokens) for _ in range(2)]
    assert not torch.equal(runs[0][0], runs[1][0])  # every pass draws anew
    for (hidden_ND, grads), (same_ND, same) in zip(runs, again, strict=True):
        assert torch.equal(hidden_ND, same_ND)
        for name, grad in grads.items():
            if "embeddings" not in name:  # added up in no fixed order by PyTorch
                assert torch.equal(grad, same[name]), name


def test_a_graph_drops_what_a_pass_without_one_drops() -> None:
    """One text that fills its size, so that both draw as much."""
    tokens = packed([[3, 4, 5, 6] * 16])
    found = []
    for model in (on_gpu(0.2, graphs=True), on_gpu(0.2)):
        trained(model, tokens)
        torch.cuda.manual_seed(5)
        found.append(trained(model, tokens))
    assert relative(found[0][0], found[1][0]) < 1e-2


def test_what_is_frozen_gets_no_gradient(graphs: bool) -> None:
    model = on_gpu(0.1, graphs=graphs)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("layer.0." not in name)
    _, grads = trained(model, packed(TEXTS))
    assert not [name for name in grads if "layer.0." in name]
    assert [name for name in grads if "layer.1." in name]


def test_predictions_are_those_without_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokens = on_gpu(0.1).eval(), packed(TEXTS).to(CUDA)
    with torch.no_grad():
        found_ND = model(tokens)
        monkeypatch.setenv("TRIVIUM_TRITON", "0")
        plain_ND = model(tokens)
    assert relative(found_ND.float().cpu(), plain_ND.float().cpu()) < 2e-2
