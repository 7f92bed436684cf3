"""Heads: shapes, values by hand, gradients, dropout in training only."""

import math

import pytest
import torch
from torch import Tensor, nn

from tests.support.tensors import packed
from trivium.model.encoder import Encoder, EncoderConfig
from trivium.model.multitask import Head, Pooling
from trivium.parts.heads import (
    BiLSTMHead,
    ConcatHead,
    CosineHead,
    HeadPart,
    LinearHead,
    MLPHead,
    SigmoidCosineHead,
)

HEADS: list[HeadPart] = [
    LinearHead(),
    ConcatHead(features="uv"),
    ConcatHead(features="uv_diff_product"),
    CosineHead(),
    SigmoidCosineHead(),
    MLPHead(),
    MLPHead(depth=3, width=5, features="uv"),
    BiLSTMHead(),
    BiLSTMHead(width=3, layers=2, features="uv"),
]

CASES = [(head, texts) for head in HEADS for texts in head.texts]

U, V = [3.0, 4.0], [4.0, 3.0]  # their cosine is 24/25


def name(head: HeadPart) -> str:
    return f"{getattr(head, 'kind', '')}-{getattr(head, 'features', '')}"


every_head = pytest.mark.parametrize(
    ("head", "texts"), CASES, ids=[f"{name(head)}-{texts}" for head, texts in CASES]
)

pooled_heads = pytest.mark.parametrize(
    ("head", "texts"),
    pooled := [(head, texts) for head, texts in CASES if not isinstance(head, BiLSTMHead)],
    ids=[f"{name(head)}-{texts}" for head, texts in pooled],
)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def built(head: HeadPart, width: int = 6, outputs: int = 4, texts: int = 0) -> Head:
    return head.build(width, head.outputs or outputs, texts or head.texts[0]).eval()


def decided(head: HeadPart, first: list[float], second: list[float]) -> float:
    vector_BSC = torch.tensor([[first, second]])
    return built(head, len(first)).decide(vector_BSC).item()


@every_head
@pytest.mark.parametrize("rows", [1, 3])
def test_a_head_gives_each_row_its_outputs(head: HeadPart, texts: int, rows: int) -> None:
    output_BK = built(head, texts=texts).decide(random(rows, texts, 6))
    assert output_BK.shape == (rows, head.outputs or 4)
    assert output_BK.dtype == torch.float32


@every_head
def test_rows_do_not_touch_each_other(head: HeadPart, texts: int) -> None:
    module, vector_BSC = built(head, texts=texts), random(5, texts, 6)
    alone = torch.cat([module.decide(row[None]) for row in vector_BSC])
    torch.testing.assert_close(module.decide(vector_BSC), alone)


@pooled_heads
def test_gradients_reach_texts_and_parameters(head: HeadPart, texts: int) -> None:
    module = built(head, texts=texts)
    vector_BSC = random(3, texts, 6).requires_grad_()
    torch.autograd.backward(module.decide(vector_BSC).pow(2).sum())
    assert vector_BSC.grad is not None
    assert (vector_BSC.grad.abs().amax(dim=2) > 0).all()
    for parameter in module.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().max() > 0


@every_head
def test_dropout_acts_in_training_only(head: HeadPart, texts: int) -> None:
    module = built(head.model_copy(update={"dropout": 0.5}), texts=texts)
    vector_BSC = random(64, texts, 6)
    torch.testing.assert_close(module.decide(vector_BSC), module.decide(vector_BSC), rtol=0, atol=0)
    torch.manual_seed(0)
    module.train()
    first, second = module.decide(vector_BSC), module.decide(vector_BSC)
    assert not torch.equal(first, second)


@every_head
def test_without_dropout_training_and_evaluation_agree(head: HeadPart, texts: int) -> None:
    module = built(head.model_copy(update={"dropout": 0.0}), texts=texts)
    vector_BSC = random(4, texts, 6)
    evaluated = module.decide(vector_BSC)
    assert torch.equal(module.train().decide(vector_BSC), evaluated)


@pooled_heads
def test_a_text_is_represented_by_its_pooled_vector(head: HeadPart, texts: int) -> None:
    encoder = Encoder(tiny()).eval()
    tokens = packed([[2, 5, 3], [2, 3]])
    hidden_ND = random(5, 8)
    vector_RC = built(head, 8, texts=texts).represent(hidden_ND, tokens, encoder)
    torch.testing.assert_close(
        vector_RC, torch.stack([hidden_ND[:3].mean(0), hidden_ND[3:].mean(0)])
    )


def tiny() -> EncoderConfig:
    return EncoderConfig(
        vocab_size=10,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=8,
    )


@pytest.mark.parametrize("pooling", ["cls", "pooler", "mean", "max"])
def test_the_chosen_pooling_is_used(pooling: Pooling) -> None:
    encoder = Encoder(tiny()).eval()
    hidden_ND = random(5, 8)
    head = built(LinearHead(pooling=pooling), 8)
    first, second = head.represent(hidden_ND, packed([[2, 5, 3], [2, 3]]), encoder)
    state = encoder.state_dict()
    pooler_D = state["pooler.dense.weight"] @ hidden_ND[0] + state["pooler.dense.bias"]
    expected = {
        "cls": hidden_ND[0],
        "pooler": torch.tanh(pooler_D),
        "mean": hidden_ND[:3].mean(0),
        "max": hidden_ND[:3].amax(0),
    }
    torch.testing.assert_close(first, expected[pooling])
    assert not torch.equal(first, second)


def with_identity(head: HeadPart, width: int, inputs: int) -> Head:
    """A linear head that shows the features it was given."""
    module = head.build(width, inputs, head.texts[0]).eval()
    linear = module.linear
    assert isinstance(linear, nn.Linear)
    with torch.no_grad():
        linear.weight.copy_(torch.eye(inputs))
    return module


def test_concat_features_by_hand() -> None:
    vector_BSC = torch.tensor([[[1.0, -2.0], [3.0, 5.0]]])
    both = with_identity(ConcatHead(features="uv"), 2, 4).decide(vector_BSC)
    assert both.tolist() == [[1, -2, 3, 5]]
    all_four = with_identity(ConcatHead(), 2, 8).decide(vector_BSC)
    assert all_four.tolist() == [[1, -2, 3, 5, 2, 7, 3, -10]]


def test_a_linear_head_is_one_matrix_and_starts_small() -> None:
    module = built(LinearHead(), 512, 3)
    linear = module.linear
    assert isinstance(linear, nn.Linear)
    vector_BSC = random(2, 1, 512)
    torch.testing.assert_close(module.decide(vector_BSC), vector_BSC[:, 0] @ linear.weight.T)
    assert float(linear.weight.detach().std()) == pytest.approx(0.02, rel=0.1)


def test_cosine_starts_as_the_cosine_itself() -> None:
    assert decided(CosineHead(), U, V) == pytest.approx(24 / 25)
    assert decided(CosineHead(), U, [-3.0, -4.0]) == pytest.approx(-1)
    assert decided(CosineHead(), U, [-4.0, 3.0]) == pytest.approx(0, abs=1e-7)
    start = dict(built(CosineHead()).named_parameters())
    assert {key: value.item() for key, value in start.items()} == {"scale": 1.0, "offset": 0.0}


def test_cosine_is_scaled_and_shifted_by_what_it_learns() -> None:
    module = built(CosineHead(), 2)
    with torch.no_grad():
        module.get_parameter("scale").fill_(0.5)
        module.get_parameter("offset").fill_(0.25)
    assert module.decide(torch.tensor([[U, V]])).item() == pytest.approx(0.5 * 24 / 25 + 0.25)


def test_sigmoid_cosine_reaches_the_middle_of_the_scale_only() -> None:
    assert decided(SigmoidCosineHead(), U, V) == pytest.approx(1 / (1 + math.exp(-24 / 25)))
    assert decided(SigmoidCosineHead(), U, [-3.0, -4.0]) == pytest.approx(0.268, abs=1e-3)
    assert decided(SigmoidCosineHead(), U, U) == pytest.approx(0.731, abs=1e-3)
    output_BK = built(SigmoidCosineHead()).decide(random(200, 2, 6, seed=1))
    assert (output_BK > 0.2689).all()
    assert (output_BK < 0.7311).all()
    assert list(built(SigmoidCosineHead()).parameters()) == []


@pytest.mark.parametrize("head", [CosineHead(), SigmoidCosineHead()], ids=name)
def test_cosine_of_an_empty_vector_is_a_number(head: HeadPart) -> None:
    assert math.isfinite(decided(head, [0.0, 0.0], V))


def test_only_heads_that_pool_by_it_want_the_pooler() -> None:
    assert LinearHead(pooling="pooler").wants_pooler
    assert not any(head.wants_pooler for head in HEADS)


def test_a_fixed_map_takes_the_whole_range_of_cosines_to_that_of_scores() -> None:
    head = CosineHead(map="fixed")
    assert decided(head, U, V) == pytest.approx((24 / 25 + 1) / 2)
    assert decided(head, U, [-3.0, -4.0]) == pytest.approx(0, abs=1e-7)
    assert decided(head, U, U) == pytest.approx(1)
    assert not dict(built(head).named_parameters()), "there is nothing to learn"
