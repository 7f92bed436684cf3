"""The encoder against `transformers.BertModel`: same checkpoint, same vectors, same gradients."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from tests.support.tensors import packed, relative
from trivium.errors import RecipeError
from trivium.model.attention import Even, Grid, Layout, Stream
from trivium.model.encoder import Encoder, EncoderConfig
from trivium.model.multitask import pool
from trivium.model.pretrained import load_encoder
from trivium.model.sides import Half, Side
from trivium.parts.optim import AdamW, LearningRates
from trivium.types import Tokens

VALUES, GRADIENTS = 1e-5, 1e-4


@dataclass(frozen=True)
class Case:
    """A random BERT and the lengths of the texts it reads; pairs have a second text."""

    lengths: tuple[int, ...]
    layers: int = 2
    heads: int = 4
    width: int = 32
    inner: int = 64
    vocab: int = 97
    segments: int = 2
    pair: bool = False
    pooler: bool = False
    eps: float = 1e-12
    pad: int = 0
    attention: str = "eager"


CASES = {
    "one text": Case((7,)),
    "ragged": Case((3, 11, 2, 8, 5), layers=3, heads=2, width=48, inner=50),
    "ragged pairs": Case((9, 4, 17, 6), pair=True, layers=4, heads=8, width=64, inner=128),
    "equal lengths": Case((6, 6, 6), heads=1, width=20, attention="sdpa"),
    "equal lengths, pooler": Case((5, 5), pooler=True, layers=1, heads=3, width=33, vocab=11),
    "ragged pairs, pooler": Case((4, 12, 7), pair=True, pooler=True, layers=3, attention="sdpa"),
    "512 tokens beside 2": Case((512, 2, 40), layers=2, heads=2, width=16, vocab=300),
    "512 tokens alone, pooler": Case((512,), pooler=True, layers=1, pair=True, attention="sdpa"),
    "one token beside many": Case((1, 2, 9), layers=4, heads=6, width=30, inner=7),
    "one segment, large eps": Case((8, 3), segments=1, eps=1e-3, width=40, heads=5),
    "three segments, other pad": Case((8, 13, 3), segments=3, pair=True, pad=5, vocab=9),
}


def random_bert(case: Case, seed: int) -> BertModel:
    """A BERT in which every parameter matters: biases and LayerNorms are random too."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=case.vocab,
        hidden_size=case.width,
        num_hidden_layers=case.layers,
        num_attention_heads=case.heads,
        intermediate_size=case.inner,
        max_position_embeddings=512,
        type_vocab_size=case.segments,
        layer_norm_eps=case.eps,
        pad_token_id=case.pad,
        attn_implementation=case.attention,
    )
    model = BertModel(config, add_pooling_layer=case.pooler).eval()
    assert model.config._attn_implementation == case.attention
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=parameter.shape[1] ** -0.5)
            else:
                parameter.normal_(mean=1.0 if name.endswith("LayerNorm.weight") else 0.0, std=0.1)
    return model


def inputs(case: Case, seed: int) -> Tokens:
    generator = torch.Generator().manual_seed(seed)
    texts = [torch.randint(case.vocab, (n,), generator=generator).tolist() for n in case.lengths]
    last = case.segments - 1
    seconds = [[last * (case.pair and place > n // 3) for place in range(n)] for n in case.lengths]
    return packed(texts, seconds)


def padded(tokens: Tokens, pad: int) -> dict[str, Tensor]:
    """The same batch as transformers wants it."""
    texts, longest = len(tokens.lengths_R), tokens.longest
    mask_RL = torch.arange(longest) < tokens.lengths_R[:, None]
    ids_RL = torch.full((texts, longest), pad).masked_scatter(mask_RL, tokens.ids_N)
    segments_RL = torch.zeros_like(ids_RL).masked_scatter(mask_RL, tokens.segments_N)
    return {"input_ids": ids_RL, "token_type_ids": segments_RL, "attention_mask": mask_RL.long()}


def outputs(model: Encoder, tokens: Tokens) -> list[Tensor]:
    """hidden_ND, and pooled_RD where the model has a pooler."""
    hidden_ND: Tensor = model(tokens)
    if model.pooler is None:
        return [hidden_ND]
    return [hidden_ND, pool(hidden_ND, tokens, model, "pooler")]


def reference_outputs(model: BertModel, tokens: Tokens, pad: int) -> list[Tensor]:
    batch = padded(tokens, pad)
    found = model(**batch)
    hidden_ND = found.last_hidden_state[batch["attention_mask"].bool()]
    return [hidden_ND] if found.pooler_output is None else [hidden_ND, found.pooler_output]


def gradients(model: nn.Module, values: list[Tensor]) -> dict[str, Tensor]:
    """Of one scalar in which every value has its own weight."""
    generator = torch.Generator().manual_seed(0)
    loss = torch.zeros(())
    for value in values:
        loss = loss + (value * torch.randn(value.shape, generator=generator)).sum()
    model.zero_grad()
    torch.autograd.backward(loss)
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same_gradients(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        difference = float((found[name] - gradient).norm())
        # A key's bias shifts all scores of a query alike, which softmax does not see: its true
        # gradient is zero, so what both sides hold is rounding, small beside the query's.
        scale = wanted[name.replace("key.bias", "query.bias")].norm()
        assert difference <= GRADIENTS * float(scale), name


@pytest.mark.parametrize("name", CASES)
def test_random_bert_gives_the_vectors_and_gradients_of_transformers(
    name: str, tmp_path: Path
) -> None:
    case, seed = CASES[name], list(CASES).index(name)
    theirs = random_bert(case, seed)
    theirs.save_pretrained(tmp_path)
    ours = load_encoder(tmp_path).eval()
    assert (ours.pooler is not None) == case.pooler
    tokens = inputs(case, seed)
    theirs.double()  # so that all rounding is ours

    wanted, found = reference_outputs(theirs, tokens, case.pad), outputs(ours, tokens)
    assert len(found) == len(wanted) == 1 + case.pooler
    for value, target in zip(found, wanted, strict=True):
        assert (value - target).abs().max() <= VALUES
    assert_same_gradients(gradients(ours, found), gradients(theirs, wanted))
    with torch.inference_mode():  # another attention kernel
        for value, target in zip(outputs(ours, tokens), wanted, strict=True):
            assert (value - target).abs().max() <= VALUES


@pytest.fixture(scope="module")
def minilm_tokens() -> Tokens:
    case = Case((12, 3, 31, 128, 9, 2), vocab=30522, pair=True)
    return inputs(case, seed=5)


@pytest.fixture(scope="module")
def few_tokens() -> Tokens:
    """For what is the same with any text: without such products, a processor takes its time."""
    return inputs(Case((5, 3, 9), vocab=30522, pair=True), seed=5)


@pytest.fixture(scope="module")
def minilm_encoder(minilm: Path) -> Encoder:
    return load_encoder(minilm).eval()


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_minilm_gives_the_vectors_and_gradients_of_transformers(
    attention: str, minilm: Path, minilm_encoder: Encoder, minilm_tokens: Tokens
) -> None:
    theirs = BertModel.from_pretrained(minilm, attn_implementation=attention).eval()
    wanted = reference_outputs(theirs, minilm_tokens, pad=0)
    found = outputs(minilm_encoder, minilm_tokens)
    for value, target in zip(found, wanted, strict=True):
        assert (value - target).abs().max() <= VALUES
    assert_same_gradients(gradients(minilm_encoder, found), gradients(theirs, wanted))


def test_embeddings_are_the_input_of_the_first_layer_of_transformers(tmp_path: Path) -> None:
    case = CASES["three segments, other pad"]
    theirs = random_bert(case, seed=1)
    theirs.save_pretrained(tmp_path)
    tokens = inputs(case, seed=1)
    batch = padded(tokens, case.pad)
    first = theirs(**batch, output_hidden_states=True).hidden_states[0]
    wanted_ND = first[batch["attention_mask"].bool()]
    assert (load_encoder(tmp_path).eval().embed(tokens) - wanted_ND).abs().max() <= VALUES


def test_a_text_has_the_same_vectors_alone_as_in_a_batch(
    minilm_encoder: Encoder, minilm_tokens: Tokens
) -> None:
    lengths = minilm_tokens.lengths_R.tolist()
    with torch.inference_mode():
        together = torch.split(minilm_encoder(minilm_tokens), lengths)
        ids = torch.split(minilm_tokens.ids_N, lengths)
        segments = torch.split(minilm_tokens.segments_N, lengths)
        for vectors, one, second in zip(together, ids, segments, strict=True):
            alone = minilm_encoder(packed([one.tolist()], [second.tolist()]))
            assert (alone - vectors).abs().max() <= VALUES


# --- dropout -----------------------------------------------------------------------------------


def test_training_without_dropout_is_evaluation() -> None:
    config = EncoderConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    torch.manual_seed(0)
    encoder, tokens = Encoder(config), packed([[1, 2, 3], [4, 5]])
    assert torch.equal(encoder.train()(tokens), encoder.eval()(tokens))


@pytest.mark.parametrize("which", ["hidden_dropout_prob", "attention_probs_dropout_prob"])
def test_each_dropout_acts_in_training_only_and_follows_the_seed(which: str) -> None:
    shape = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    off = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    torch.manual_seed(0)
    encoder = Encoder(EncoderConfig.model_validate(shape | off | {which: 0.2}))
    tokens = packed([[1, 2, 3, 7, 8, 9], [4, 5]])

    def drawn(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return encoder.forward(tokens)

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
    encoder.eval()
    assert torch.equal(drawn(1), drawn(2))


# --- bf16 --------------------------------------------------------------------------------------


@pytest.fixture
def bf16(minilm: Path) -> Encoder:
    encoder = load_encoder(minilm).eval()
    encoder.precision = torch.bfloat16
    return encoder


def test_bf16_stays_close_to_fp32_and_leaves_fp32_gradients(
    bf16: Encoder, minilm_encoder: Encoder, minilm_tokens: Tokens
) -> None:
    found, wanted = outputs(bf16, minilm_tokens), outputs(minilm_encoder, minilm_tokens)
    assert found[0].dtype == torch.bfloat16
    assert torch.cosine_similarity(found[0].float(), wanted[0], dim=1).min() > 0.99

    low, full = gradients(bf16, found), gradients(minilm_encoder, wanted)
    assert {value.dtype for value in low.values()} == {torch.float32}
    assert {value.dtype for value in bf16.state_dict().values()} == {torch.float32}
    assert low.keys() == full.keys()
    all_low, all_full = (torch.cat([*map(torch.ravel, g.values())]) for g in (low, full))
    assert relative(all_low, all_full) < 0.05
    worst = max(relative(low[name], full[name]) for name in full if "key.bias" not in name)
    assert worst < 0.10


def test_bf16_forward_follows_every_step_of_the_fused_optimizer(
    bf16: Encoder, few_tokens: Tokens
) -> None:
    optimizer = AdamW().build(bf16.named_parameters(), [], LearningRates(encoder=1e-3))
    assert optimizer.defaults["fused"]
    for _ in range(2):
        before = outputs(bf16, few_tokens)
        gradients(bf16, before)
        optimizer.step()
        after = bf16.forward(few_tokens)
        fresh = Encoder(bf16.config).eval()  # has never made a bf16 copy of anything
        fresh.load_state_dict(bf16.state_dict())
        fresh.precision = torch.bfloat16
        assert not torch.equal(after, before[0])
        assert torch.equal(after, fresh(few_tokens))


def test_bf16_trains_on_after_an_evaluation_in_inference_mode(
    bf16: Encoder, few_tokens: Tokens
) -> None:
    wanted = gradients(bf16, outputs(bf16, few_tokens))
    optimizer = AdamW().build(bf16.named_parameters(), [], LearningRates(encoder=0.0))
    optimizer.step()  # changes nothing but makes the copies old, so that the evaluation renews them
    with torch.inference_mode():
        bf16(few_tokens)
    found = gradients(bf16, outputs(bf16, few_tokens))
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


# --- sides -------------------------------------------------------------------------------------


class Spy(Side):
    """Keeps what the encoder shows it; adds nothing, or shifts what it is given."""

    def __init__(self, shift: float = 0.0) -> None:
        super().__init__()
        self.shift = shift
        self.seen: list[tuple[str, int, Tensor]] = []

    def beside(self, layer: int, x_ND: Tensor, groups: Layout) -> Tensor | None:
        assert not isinstance(groups, Grid | Even | Stream)
        assert sum(group.texts for group in groups) == 2
        self.seen.append(("beside", layer, x_ND))
        return self.shift * x_ND if self.shift else None

    def within(self, layer: int, half: Half, update_ND: Tensor) -> Tensor:
        self.seen.append((f"within {half}", layer, update_ND))
        return update_ND


def sided(*sides: tuple[str, str, Side]) -> tuple[Encoder, Tokens]:
    torch.manual_seed(0)
    encoder = Encoder(
        EncoderConfig(
            vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=32,
        )
    ).eval()  # fmt: skip
    for kind, task, side in sides:
        encoder.sides.add(kind, task, side.eval())
    return encoder, packed([[1, 2, 3], [4, 5]])


def test_a_side_sees_every_layers_input_and_both_of_its_updates() -> None:
    spy = Spy()
    encoder, tokens = sided(("spies", "mood", spy))
    plain, _ = sided()
    x_ND = encoder.embed(tokens)
    assert torch.equal(encoder.encode(x_ND, tokens, "mood"), plain.encode(x_ND, tokens, "mood"))
    places = [(what, layer) for what, layer, _ in spy.seen]
    assert sorted(places) == sorted(
        (what, layer) for what in ("beside", "within 0", "within 1") for layer in (0, 1)
    )
    assert torch.equal(next(x for what, n, x in spy.seen if (what, n) == ("beside", 0)), x_ND)


def test_only_the_tasks_own_sides_act_and_several_kinds_add_up() -> None:
    encoder, tokens = sided(
        ("one", "mood", Spy(0.5)), ("one", "train", Spy()), ("two", "mood", Spy(0.25))
    )
    single, _ = sided(("one", "mood", Spy(0.75)))
    plain, _ = sided()
    wanted = plain.forward(tokens)
    for task in ("train", "", "unknown"):
        assert torch.equal(encoder.forward(tokens, task), wanted)
    found = encoder.forward(tokens, "mood")
    assert relative(found, wanted) > 0.1
    assert relative(found, single.forward(tokens, "mood")) < 1e-6


def test_two_sides_of_one_kind_for_one_task_are_refused() -> None:
    with pytest.raises(RecipeError, match="'mood' has two of kind one"):
        sided(("one", "mood", Spy()), ("one", "mood", Spy()))
