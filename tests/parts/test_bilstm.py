"""The biLSTM head: each text by itself, read from both ends, in fp32."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from tests.support.tensors import packed
from trivium.model.encoder import Encoder, EncoderConfig
from trivium.model.multitask import Head, MultiTaskModel
from trivium.parts.heads import BiLSTMHead
from trivium.types import Batch


def tiny() -> EncoderConfig:
    return EncoderConfig(
        vocab_size=10,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=8,
        has_pooler=False,
    )


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def by_hand(lstm: nn.LSTM, text_LD: Tensor, direction: str) -> Tensor:
    """The last state of one direction: forward is "", backward "_reverse"."""
    state = dict(lstm.named_parameters())
    weight_x, weight_h = state[f"weight_ih_l0{direction}"], state[f"weight_hh_l0{direction}"]
    bias = state[f"bias_ih_l0{direction}"] + state[f"bias_hh_l0{direction}"]
    h = c = torch.zeros(weight_h.shape[1])
    for x in text_LD.flip(0) if direction else text_LD:
        i, f, g, o = (weight_x @ x + weight_h @ h + bias).chunk(4)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
    return h


def represented(module: Head, texts: Sequence[Tensor]) -> Tensor:
    tokens = packed([[1] * len(text_LD) for text_LD in texts])
    return module.represent(torch.cat(list(texts)), tokens, Encoder(tiny()))


def test_a_bilstm_reads_each_text_from_both_ends() -> None:
    module = BiLSTMHead(width=3).build(8, 4, 1).eval()
    lstm = module.get_submodule("lstm")
    assert isinstance(lstm, nn.LSTM)
    texts = [random(length, 8, seed=length) for length in (4, 1, 7)]
    found_RC = represented(module, texts)
    for text_LD, vector_C in zip(texts, found_RC, strict=True):
        wanted_C = torch.cat([by_hand(lstm, text_LD, ""), by_hand(lstm, text_LD, "_reverse")])
        torch.testing.assert_close(vector_C, wanted_C)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_a_text_is_the_ends_of_the_top_layer(layers: int) -> None:
    module = BiLSTMHead(width=3, layers=layers).build(8, 4, 1).eval()
    texts = [random(length, 8, seed=length) for length in (4, 1, 7)]
    found_RC = represented(module, texts)
    for text_LD, vector_C in zip(texts, found_RC, strict=True):
        read_LC, _ = module.get_submodule("lstm")(text_LD)
        torch.testing.assert_close(vector_C, torch.cat([read_LC[-1, :3], read_LC[0, 3:]]))


@pytest.mark.parametrize("layers", [1, 2])
def test_a_text_is_read_alike_in_any_company(layers: int) -> None:
    module = BiLSTMHead(layers=layers).build(8, 4, 1).eval()
    texts = [random(length, 8, seed=length) for length in (3, 9, 1, 9, 5)]
    alone = torch.cat([represented(module, [text_LD]) for text_LD in texts])
    torch.testing.assert_close(represented(module, texts), alone, rtol=0, atol=1e-6)
    torch.testing.assert_close(represented(module, texts[::-1]), alone.flip(0), rtol=0, atol=1e-6)


def test_a_bilstm_computes_in_fp32_whatever_the_encoder_does() -> None:
    module = BiLSTMHead().build(8, 4, 1).eval()
    text_LD = random(5, 8).to(torch.bfloat16)
    found_RC = represented(module, [text_LD])
    assert found_RC.dtype == torch.float32
    assert torch.equal(found_RC, represented(module, [text_LD.float()]))


@pytest.mark.parametrize("texts", [1, 2])
def test_a_bilstm_trains_its_parameters_and_the_encoder(texts: int) -> None:
    torch.manual_seed(0)
    model = MultiTaskModel(
        Encoder(tiny()),
        {"a": BiLSTMHead(layers=2).build(8, 3, texts)},
    )
    tokens = packed([[2, 5, 3], [2, 3], [2, 7, 8, 3], [2, 9, 3]])
    output_BK = model(Batch("a", tokens, torch.zeros(4 // texts)))
    torch.autograd.backward(output_BK.pow(2).sum())
    assert output_BK.shape == (4 // texts, 3)
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(("head", "width"), [(BiLSTMHead(), 4), (BiLSTMHead(width=5), 5)])
def test_a_direction_is_half_as_wide_as_the_encoder_unless_told(
    head: BiLSTMHead, width: int
) -> None:
    assert represented(head.build(8, 4, 1), [random(3, 8)]).shape == (1, 2 * width)


def test_a_head_of_its_own_reading_wants_no_pooler() -> None:
    assert not BiLSTMHead().wants_pooler
    with pytest.raises(ValueError, match="Extra inputs"):
        BiLSTMHead.model_validate({"pooling": "cls"})
