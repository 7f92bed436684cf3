"""The biLSTM head: each text by itself, read from both ends, in fp32."""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from tests.support.tensors import packed
from trivium.model.encoder import Encoder, EncoderConfig
from trivium.model.multitask import Head, MultiTaskModel
from trivium.parts.heads import BiLSTMHead, build_trunks, check_trunks
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


def sharing(**more: object) -> dict[str, BiLSTMHead]:
    return {
        name: BiLSTMHead.model_validate({"trunk": "one", "width": 3, "features": "uv"} | more)
        for name in ("a", "b")
    }


class _Asks(NamedTuple):
    resolved_head: BiLSTMHead
    sequences: int


def test_heads_that_name_a_trunk_read_with_one_lstm_and_decide_alone() -> None:
    torch.manual_seed(0)
    heads = sharing()
    tasks = {"a": _Asks(heads["a"], 1), "b": _Asks(heads["b"], 2)}
    built = {name: task.resolved_head.build(8, 2, task.sequences) for name, task in tasks.items()}
    model = MultiTaskModel(Encoder(tiny()), built, build_trunks(tasks, 8)).eval()
    names = [name for name, _ in model.named_parameters() if "weight_ih_l0" in name]
    assert names == ["trunks.one.weight_ih_l0", "trunks.one.weight_ih_l0_reverse"]
    assert {shared.trunk for shared in model.shared_parameters()} == {None, "one"}
    text_LD = random(5, 8)
    lstm = model.trunks["one"]
    assert isinstance(lstm, nn.LSTM)
    wanted_C = torch.cat([by_hand(lstm, text_LD, ""), by_hand(lstm, text_LD, "_reverse")])
    for name in ("a", "b"):
        torch.testing.assert_close(represented(model.head(name), [text_LD])[0], wanted_C)
    again = copy.deepcopy(model)
    assert again.head("a").get_parameter("linear.weight") is not None
    with torch.no_grad():
        again.trunks["one"].get_parameter("bias_ih_l0").add_(1)
    changed_C = represented(again.head("a"), [text_LD])[0]
    assert not torch.equal(changed_C, wanted_C), "a copy reads with its own trunk"
    torch.testing.assert_close(represented(model.head("a"), [text_LD])[0], wanted_C)


def test_lstms_that_differ_are_not_shared() -> None:
    one, two = BiLSTMHead(trunk="one"), BiLSTMHead(trunk="one", layers=2)
    with pytest.raises(ValueError, match=r"their `layers` must be the same, found 2 and 1"):
        check_trunks({"a": _Asks(one, 1), "b": _Asks(two, 1)})


def test_linear_layers_of_a_task_stand_between_the_lstm_and_its_output() -> None:
    head = BiLSTMHead(width=3, depth=1, activation="none", features="uv", dropout=0)
    module = head.build(8, 2, 2).eval()
    vector_BSC = random(4, 2, 6)
    weight = dict(module.named_parameters())
    hidden_BC = vector_BSC.flatten(1) @ weight["hidden.layers.0.weight"].T
    wanted_BK = hidden_BC @ weight["linear.weight"].T + weight["linear.bias"]
    torch.testing.assert_close(module.decide(vector_BSC), wanted_BK)
    bent = head.model_copy(update={"activation": "gelu"}).build(8, 2, 2).eval()
    bent.load_state_dict(module.state_dict())
    assert not torch.allclose(bent.decide(vector_BSC), wanted_BK)
