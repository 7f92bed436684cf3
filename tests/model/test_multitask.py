"""Pooling and pairing against the same thing done text by text."""

import pytest
import torch
from torch import Tensor

from tests.conftest import packed, relative
from trivium.model.encoder import Encoder, EncoderConfig
from trivium.model.multitask import Head, MultiTaskModel, Pooling, pool
from trivium.types import Batch, Tokens

WIDTH = 8


def encoder(*, has_pooler: bool = True) -> Encoder:
    torch.manual_seed(0)
    shape = {"vocab_size": 40, "hidden_size": WIDTH, "num_hidden_layers": 1}
    shape |= {"num_attention_heads": 2, "intermediate_size": 16}
    return Encoder(EncoderConfig.model_validate(shape | {"has_pooler": has_pooler})).eval()


def by_hand(text_LD: Tensor, model: Encoder, how: Pooling) -> Tensor:
    """One text's vector from its own tokens."""
    if how == "cls":
        return text_LD[0]
    if how == "mean":
        return sum(text_LD.unbind(0), start=torch.zeros(())) / len(text_LD)
    if how == "max":
        return torch.stack([column.max() for column in text_LD.unbind(1)])
    weight, bias = (model.get_parameter(f"pooler.dense.{name}") for name in ("weight", "bias"))
    return torch.tanh(weight @ text_LD[0] + bias)


@pytest.mark.parametrize("how", ["cls", "pooler", "mean", "max"])
@pytest.mark.parametrize("lengths", [(1,), (4, 4), (3, 1, 6, 2)])
def test_pooling_equals_each_text_by_itself_in_value_and_gradient(
    how: Pooling, lengths: tuple[int, ...]
) -> None:
    model = encoder()
    tokens = packed([[1] * length for length in lengths])
    # All below zero, so that a maximum taken with an empty place would be seen.
    hidden_ND = (-1 - torch.rand(sum(lengths), WIDTH)).requires_grad_()
    weight_RD = torch.randn(len(lengths), WIDTH)
    same_ND = hidden_ND.detach().clone().requires_grad_()

    found_RD = pool(hidden_ND, tokens, model, how)
    texts = torch.split(same_ND, list(lengths))
    wanted_RD = torch.stack([by_hand(text_LD, model, how) for text_LD in texts])
    assert relative(found_RD, wanted_RD) < 1e-6
    torch.autograd.backward((found_RD * weight_RD).sum())
    torch.autograd.backward((wanted_RD * weight_RD).sum())
    assert hidden_ND.grad is not None
    assert same_ND.grad is not None
    assert relative(hidden_ND.grad, same_ND.grad) < 1e-6


@pytest.mark.parametrize("how", ["cls", "pooler", "mean", "max"])
def test_pooling_of_bf16_vectors_is_computed_in_fp32(how: Pooling) -> None:
    model, tokens = encoder(), packed([[1] * 200, [1] * 3])
    hidden_ND = torch.randn(203, WIDTH).to(torch.bfloat16)
    found_RD = pool(hidden_ND, tokens, model, how)
    assert found_RD.dtype == torch.float32
    assert relative(found_RD, pool(hidden_ND.float(), tokens, model, how)) < 1e-6


class Difference(Head):
    """A head that tells first from second: each text is the mean of its ids."""

    def represent(self, hidden_ND: Tensor, tokens: Tokens, encoder: Encoder) -> Tensor:
        ids_ND = tokens.ids_N[:, None].expand_as(hidden_ND).float()
        return pool(ids_ND, tokens, encoder, "mean")[:, :1]

    def decide(self, vector_BSC: Tensor) -> Tensor:
        return vector_BSC[:, 0] - vector_BSC[:, -1] / 10


def test_pairs_stacked_firsts_then_seconds_meet_their_own_partner() -> None:
    model = MultiTaskModel(encoder(), {"a": Difference()})
    firsts, seconds = [[1, 3], [4], [9, 9, 9]], [[10], [20, 30], [39]]
    batch = Batch("a", packed(firsts + seconds), target_B=torch.zeros(3))
    torch.testing.assert_close(model(batch), torch.tensor([[1.0], [1.5], [5.1]]))


def test_single_texts_reach_the_head_as_rows_of_one_text() -> None:
    model = MultiTaskModel(encoder(), {"a": Difference()})
    batch = Batch("a", packed([[10], [20], [30]]), target_B=torch.zeros(3))
    torch.testing.assert_close(model(batch), torch.tensor([[9.0], [18.0], [27.0]]))


def test_each_batch_is_answered_by_the_head_of_its_task() -> None:
    class Constant(Difference):
        def decide(self, vector_BSC: Tensor) -> Tensor:
            return torch.full((len(vector_BSC), 2), 7.0)

    model = MultiTaskModel(encoder(), {"a": Difference(), "b": Constant()})
    tokens = packed([[10], [20]])
    assert model(Batch("a", tokens, torch.zeros(2))).tolist() == [[9.0], [18.0]]
    assert model(Batch("b", tokens, torch.zeros(2))).tolist() == [[7.0, 7.0], [7.0, 7.0]]


def test_a_head_trains_the_encoder_that_all_tasks_share() -> None:
    class Pooled(Difference):
        def represent(self, hidden_ND: Tensor, tokens: Tokens, encoder: Encoder) -> Tensor:
            return pool(hidden_ND, tokens, encoder, "cls")

    model = MultiTaskModel(encoder(has_pooler=False), {"a": Pooled()})
    output_BK = model(Batch("a", packed([[1, 2], [3], [4], [5, 6]]), torch.zeros(2)))
    torch.autograd.backward((output_BK * torch.randn(2, WIDTH)).sum())
    assert all(parameter.grad is not None for parameter in model.encoder.parameters())
