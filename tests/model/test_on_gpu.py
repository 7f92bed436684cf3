"""The encoder on a GPU: attention without padding, and passes that are recorded as graphs."""

import pytest
import torch
from torch import Tensor, nn

from tests.support.tensors import packed, relative
from trivium.model.encoder import Encoder, EncoderConfig
from trivium.types import Tokens

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
CUDA = torch.device("cuda")
TEXTS = [[3, 5, 7], [9], list(range(20, 57)), [4] * 16, [8, 2] * 10]
OTHERS = [[5] * 40, [7, 8], [1, 2, 3], [50] * 9, [11] * 30]
Grads = dict[str, Tensor]


def encoder(dropout: float = 0.0, seed: int = 0) -> Encoder:
    torch.manual_seed(seed)
    made = Encoder(
        EncoderConfig(
            vocab_size=60,
            hidden_size=96,
            num_hidden_layers=3,
            num_attention_heads=3,
            intermediate_size=160,
            max_position_embeddings=64,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
        )
    )
    for name, parameter in made.named_parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter, 1.0 if "LayerNorm.weight" in name else 0.0, 0.3)
    return made


def on_gpu(model: Encoder, *, graphs: bool) -> Encoder:
    model.to(CUDA).precision = torch.bfloat16
    model.graphs = model.recorded() if graphs else None
    return model


def trained(model: Encoder, tokens: Tokens) -> tuple[Tensor, Grads]:
    """Hidden vectors, and the gradients of a random weighting of them."""
    model.zero_grad()
    device = model.embeddings.word_embeddings.weight.device
    hidden_ND = model(tokens.to(device)).float()
    weight_ND = torch.randn(hidden_ND.shape, generator=torch.Generator().manual_seed(1))
    torch.autograd.backward((hidden_ND * weight_ND.to(device)).sum())
    named = model.named_parameters()
    return hidden_ND.detach().cpu(), {n: p.grad.cpu() for n, p in named if p.grad is not None}


def near(found: Grads, wanted: Grads, limit: float) -> None:
    assert found.keys() == wanted.keys()
    for name, grad in wanted.items():
        # Scores do not change with a key's bias: its gradient is rounding.
        if not name.endswith("key.bias"):
            assert relative(found[name], grad) < limit, name


@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("texts", [TEXTS, OTHERS, [[3, 4, 5]]])
def test_a_pass_and_its_way_back_are_those_of_a_cpu(texts: list[list[int]], graphs: bool) -> None:
    tokens = packed(texts)
    hidden_ND, grads = trained(encoder(), tokens)
    model = on_gpu(encoder(), graphs=graphs)
    for _ in range(2):
        found_ND, found = trained(model, tokens)
        assert relative(found_ND, hidden_ND) < 2e-2
        near(found, grads, 8e-2)


def test_recorded_passes_follow_the_weights_and_each_size_has_one() -> None:
    recorded, plain = on_gpu(encoder(), graphs=True), on_gpu(encoder(), graphs=False)
    models = (recorded, plain)
    optimizers = [torch.optim.AdamW(m.parameters(), lr=1e-2, fused=True) for m in models]
    for texts in (TEXTS, OTHERS, TEXTS, OTHERS[:3], TEXTS):
        (hidden_ND, grads), (wanted_ND, wanted) = (trained(m, packed(texts)) for m in models)
        assert relative(hidden_ND, wanted_ND) < 2e-2
        near(grads, wanted, 8e-2)
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.step()
            changed = [p for p in model.parameters() if p.grad is not None]
            torch.autograd.graph.increment_version(changed)
    assert recorded.graphs is not None
    assert len(recorded.graphs.passes) == 3


def test_gradients_of_several_batches_add_up() -> None:
    model = on_gpu(encoder(), graphs=True)
    each = [trained(model, packed(texts))[1] for texts in (TEXTS, OTHERS)]
    model.zero_grad()
    for texts in (TEXTS, OTHERS):
        hidden_ND = model(packed(texts).to(CUDA)).float()
        weight_ND = torch.randn(hidden_ND.shape, generator=torch.Generator().manual_seed(1))
        torch.autograd.backward((hidden_ND * weight_ND.to(CUDA)).sum())
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            total = each[0][name] + each[1][name]
            torch.testing.assert_close(parameter.grad.cpu(), total, atol=1e-3, rtol=1e-3)


def test_what_is_frozen_gets_no_gradient_from_a_recorded_pass() -> None:
    model = on_gpu(encoder(), graphs=True)
    trained(model, packed(TEXTS))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("layer.0." not in name)
    _, grads = trained(model, packed(TEXTS))
    assert not [name for name in grads if "layer.0." in name]
    assert [name for name in grads if "layer.1." in name]


@pytest.mark.parametrize("graphs", [False, True])
def test_dropout_is_a_function_of_the_generators_state(graphs: bool) -> None:
    model, tokens = on_gpu(encoder(dropout=0.2), graphs=graphs), packed(TEXTS).to(CUDA)
    torch.cuda.manual_seed(5)
    state = torch.cuda.get_rng_state()
    first, second = model(tokens).clone(), model(tokens).clone()
    assert not torch.equal(first, second)
    torch.cuda.set_rng_state(state)
    assert torch.equal(model(tokens), first)
    assert torch.equal(model(tokens), second)


def test_recording_leaves_the_generator_where_it_was() -> None:
    """So that a resumed run, which records anew, drops what an uninterrupted one does."""
    old, new = (on_gpu(encoder(dropout=0.2), graphs=True) for _ in range(2))
    tokens = packed(TEXTS).to(CUDA)
    old(tokens)  # has recorded this size before
    torch.cuda.manual_seed(5)
    of_old = old(tokens).clone()
    torch.cuda.manual_seed(5)
    assert torch.equal(new(tokens), of_old)


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    model, tokens = on_gpu(encoder(dropout=0.3), graphs=True), packed(TEXTS).to(CUDA)
    with torch.no_grad():
        clean = model.eval()(tokens).float()
    model.train()
    mean = torch.stack([model(tokens).float().detach() for _ in range(400)]).mean(0)
    assert relative(mean.cpu(), clean.cpu()) < 0.35  # nonlinear, but not another function
