"""Pooling and pairing against the same thing done text by text."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.support.tensors import packed, relative
from trivium.model.encoder import Encoder, EncoderConfig
from trivium.model.multitask import Head, MultiTaskModel, Pooling, pool
from trivium.model.sides import Side
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
@pytest.mark.parametrize("fill", [0, 5])
def test_pooling_equals_each_text_by_itself_in_value_and_gradient(
    how: Pooling, lengths: tuple[int, ...], fill: int
) -> None:
    """Also where the stream goes on after the last text, with what belongs to none."""
    model, count = encoder(), sum(lengths)
    tokens = replace(packed([[1] * length for length in lengths]), is_filled=fill > 0)
    # All below zero, so that a maximum taken with an empty place would be seen.
    own_ND = -1 - torch.rand(count, WIDTH)
    hidden_ND = torch.cat([own_ND, torch.full((fill, WIDTH), 50.0)]).requires_grad_()
    weight_RD = torch.randn(len(lengths), WIDTH)
    same_ND = own_ND.clone().requires_grad_()

    found_RD = pool(hidden_ND, tokens, model, how)
    texts = torch.split(same_ND, list(lengths))
    wanted_RD = torch.stack([by_hand(text_LD, model, how) for text_LD in texts])
    assert relative(found_RD, wanted_RD) < 1e-6
    torch.autograd.backward((found_RD * weight_RD).sum())
    torch.autograd.backward((wanted_RD * weight_RD).sum())
    assert hidden_ND.grad is not None
    assert same_ND.grad is not None
    assert relative(hidden_ND.grad[:count], same_ND.grad) < 1e-6
    assert not hidden_ND.grad[count:].any()


@pytest.mark.parametrize("how", ["mean", "max"])
def test_pooling_has_the_same_bits_where_a_stream_is_filled_up(how: Pooling) -> None:
    """And the same gradients, also of a maximum that stands in several places."""
    model, tokens = encoder(), packed([[1] * length for length in (3, 1, 6, 2)])
    hidden_ND = torch.randint(-2, 3, (12, WIDTH)).float()
    weight_RD = torch.randn(4, WIDTH)
    found = []
    for fill in (0, 4):
        x_ND = torch.cat([hidden_ND, torch.full((fill, WIDTH), 9.0)]).requires_grad_()
        pooled_RD = pool(x_ND, replace(tokens, is_filled=fill > 0), model, how)
        (grad_ND,) = torch.autograd.grad((pooled_RD * weight_RD).sum(), x_ND)
        found.append((pooled_RD, grad_ND[:12]))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


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

    def decide(self, vector_BSC: Tensor, _trunk: nn.Module | None = None) -> Tensor:
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
        def decide(self, vector_BSC: Tensor, _trunk: nn.Module | None = None) -> Tensor:
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


class Halved(Difference):
    """A head whose last step belongs to a trunk."""

    def __init__(self, trunk: str) -> None:
        super().__init__()
        self.trunk = trunk

    def decide(self, vector_BSC: Tensor, trunk: nn.Module | None = None) -> Tensor:
        assert trunk is not None
        output_BK: Tensor = trunk(vector_BSC[:, 0])
        return output_BK


def scaled(factor: float) -> nn.Linear:
    linear = nn.Linear(1, 1, bias=False)
    nn.init.constant_(linear.weight, factor)
    return linear


@pytest.mark.parametrize("name", ["type", "train", "values"])
def test_a_head_meets_the_trunk_it_names_whatever_the_name(name: str) -> None:
    heads = {"a": Halved(name), "b": Halved("other"), "c": Difference()}
    model = MultiTaskModel(encoder(), heads, {name: scaled(0.5), "other": scaled(2)})
    tokens = packed([[10], [20]])
    answers = [model(Batch(task, tokens, torch.zeros(2))).tolist() for task in "abc"]
    assert answers == [[[5.0], [10.0]], [[20.0], [40.0]], [[9.0], [18.0]]]
    vector_BSC = torch.tensor([[[10.0]], [[20.0]]])
    assert model.decide("a", vector_BSC).tolist() == answers[0]


def test_a_trunk_is_saved_once_and_in_no_head() -> None:
    heads = {"a": Halved("t"), "b": Halved("t")}
    model = MultiTaskModel(encoder(), heads, {"t": scaled(0.5)})
    outside = [name for name in model.state_dict() if not name.startswith("encoder.")]
    assert outside == ["trunks.t.weight"]
    assert list(MultiTaskModel(encoder(), {"c": Difference()}).trunks.state_dict()) == []


@pytest.mark.parametrize("trunks", [{}, {"t": scaled(1), "other": scaled(1)}])
def test_names_and_trunks_must_match(trunks: dict[str, nn.Module]) -> None:
    with pytest.raises(AssertionError, match="a trunk for every name"):
        MultiTaskModel(encoder(), {"a": Halved("t")}, trunks)


def test_tasks_share_the_encoder_and_trunks_but_neither_heads_nor_sides() -> None:
    class Weighed(Difference):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(1, 1)

    shared = encoder()
    own = list(shared.parameters())
    side = Side()
    side.register_parameter("scale", nn.Parameter(torch.ones(1)))
    shared.sides.add("low_rank", "a", side)
    trunk = scaled(1)
    model = MultiTaskModel(shared, {"a": Halved("t"), "b": Weighed()}, {"t": trunk})
    found = list(model.shared_parameters())
    assert [id(one.parameter) for one in found] == [id(p) for p in [*own, trunk.weight]]
    assert [one.trunk for one in found] == [None] * len(own) + ["t"]
    assert (found[0].name, found[-1].name) == ("embeddings.word_embeddings.weight", "weight")
    shared.requires_grad_(False)
    assert len(list(model.shared_parameters())) == len(found)
