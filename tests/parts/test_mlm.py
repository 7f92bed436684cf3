"""Masked words: the head against transformers', the task against its definition."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import BertConfig, BertForMaskedLM, BertForPreTraining, BertModel

from tests.support.tables import WORDS
from tests.support.tensors import packed
from trivium.errors import RecipeError
from trivium.model.multitask import MultiTaskModel
from trivium.model.pretrained import load_words_head
from trivium.parts.heads.words import WordsModule
from trivium.parts.tasks import MaskedWords
from trivium.parts.tasks import mlm as mlm_module
from trivium.recipe import parse_recipe
from trivium.run.assembly.model import build
from trivium.text.masking import fixed_draws, mask
from trivium.text.packing import Packer
from trivium.text.tokenizer import Tokenizer
from trivium.types import Batch, Tokens

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]

SHAPE: dict[str, Any] = {
    "vocab_size": len(PIECES), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 24, "max_position_embeddings": 32, "layer_norm_eps": 1e-3,
    "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
}  # fmt: skip


def oracle(kind: Any = BertForMaskedLM) -> Any:
    torch.manual_seed(0)
    model = kind(BertConfig(**SHAPE))
    for parameter in model.parameters():  # biases and LayerNorms that are not 0 and 1
        nn.init.normal_(parameter, mean=0.1, std=0.3)
    return model


def stored(folder: Path, model: Any, changes: Mapping[str, Tensor | None] | None = None) -> Path:
    """The model as a checkpoint with a vocabulary; changes: tensors replaced, or left out."""
    model.save_pretrained(folder)
    weights = load_file(folder / "model.safetensors") | dict(changes or {})
    kept = {name: tensor for name, tensor in weights.items() if tensor is not None}
    save_file(kept, folder / "model.safetensors")
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in PIECES))
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stored(tmp_path_factory.mktemp("checkpoint"), oracle())


def built(folder: Path, **task: Any) -> MultiTaskModel:
    recipe = {"encoder": str(folder), "tasks": {"words": {"kind": "mlm", "train": "t.txt"} | task}}
    return build(parse_recipe(recipe))[0]


def words_head(model: MultiTaskModel) -> WordsModule:
    head = model.head("words")
    assert isinstance(head, WordsModule)
    return head


def pack(tokenizer: Tokenizer, texts: list[str]) -> Tokens:
    pieces = [[np.asarray(ids, dtype=np.int32)] for ids in tokenizer(texts)]
    return Packer(tokenizer, 32).pack(pieces)


TEXTS = ["good cat runs very", "bad dog", "red fish eats not blue day sleeps"]


def asked_batch(folder: Path) -> Batch:
    tokenizer = Tokenizer(folder)
    torch.manual_seed(1)
    batch = Batch("words", pack(tokenizer, TEXTS), torch.zeros(3))
    return MaskedWords(name="words", mask={"share": 0.4}).prepare(batch, tokenizer)


def padded(tokens: Tokens) -> dict[str, Tensor]:
    texts = torch.split(tokens.ids_N, tokens.lengths_R.tolist())
    ids_RL = nn.utils.rnn.pad_sequence(list(texts), batch_first=True)
    places_RL = torch.arange(ids_RL.shape[1])
    there_RL = (places_RL[None, :] < tokens.lengths_R[:, None]).long()
    return {"input_ids": ids_RL, "attention_mask": there_RL}


def theirs(model: Any, batch: Batch) -> Tensor:
    """transformers' logits of the asked tokens: logit_MV."""
    inputs = padded(batch.tokens)
    logit_RLV = model(**inputs).logits
    logit_NV: Tensor = logit_RLV[inputs["attention_mask"].bool()]
    assert batch.tokens.asked_M is not None
    return logit_NV[batch.tokens.asked_M]


# --- the head ----------------------------------------------------------------------------------


def test_logits_loss_and_every_gradient_are_those_of_transformers(checkpoint: Path) -> None:
    reference, model = oracle().train(), built(checkpoint).train()
    batch = asked_batch(checkpoint)
    assert len(batch.target_B) == 2 + 1 + 3
    ours_MV, wanted_MV = model(batch), theirs(reference, batch)
    torch.testing.assert_close(ours_MV, wanted_MV, atol=1e-5, rtol=1e-5)
    loss = MaskedWords(name="words").compute_loss(ours_MV, batch.target_B)
    wanted = F.cross_entropy(wanted_MV, batch.target_B)
    torch.testing.assert_close(loss, wanted)
    torch.autograd.backward(loss)
    torch.autograd.backward(wanted)
    found = {n: p.grad for n, p in model.encoder.named_parameters() if "pooler" not in n}
    for name, parameter in reference.bert.named_parameters():
        torch.testing.assert_close(found.pop(name), parameter.grad, atol=1e-5, rtol=1e-4, msg=name)
    assert not found
    head = {name: parameter.grad for name, parameter in words_head(model).named_parameters()}
    for name, parameter in reference.cls.predictions.named_parameters():
        mine = head.pop("decoder.bias" if name == "bias" else name, None)
        if name != "decoder.weight":
            torch.testing.assert_close(mine, parameter.grad, atol=1e-5, rtol=1e-4, msg=name)
    assert not head


def test_in_bf16_the_logits_are_near_and_gradients_arrive_in_fp32(checkpoint: Path) -> None:
    model, batch = built(checkpoint), asked_batch(checkpoint)
    wanted_MV = model(batch)
    model.encoder.precision = torch.bfloat16
    found_MV = model(batch)
    assert found_MV.dtype == torch.float32
    torch.testing.assert_close(found_MV, wanted_MV, atol=0.1, rtol=0.05)
    torch.autograd.backward(F.cross_entropy(found_MV, batch.target_B))
    gradient_VD = model.encoder.embeddings.word_embeddings.weight.grad
    assert gradient_VD is not None
    assert gradient_VD.dtype == torch.float32
    assert bool(gradient_VD.abs().sum(dim=1).gt(0).all())  # the decoder reaches every word


def test_the_head_owns_neither_the_embedding_nor_a_copy(checkpoint: Path) -> None:
    model = built(checkpoint)
    model(asked_batch(checkpoint))
    names = [
        "transform.dense.weight", "transform.dense.bias", "transform.LayerNorm.weight",
        "transform.LayerNorm.bias", "decoder.bias",
    ]  # fmt: skip
    head = words_head(model)
    assert list(head.state_dict()) == [name for name, _ in head.named_parameters()] == names
    tensors = [*model.state_dict().values()]
    assert len({tensor.data_ptr() for tensor in tensors}) == len(tensors)


def test_a_changed_embedding_changes_the_decoder_in_either_precision(checkpoint: Path) -> None:
    model, batch = built(checkpoint), asked_batch(checkpoint)
    for precision in (torch.float32, torch.bfloat16):
        model.encoder.precision = precision
        with torch.no_grad():
            before_MV = model(batch)
            model.encoder.embeddings.word_embeddings.weight[7] += 1.0
            after_MV = model(batch)
        assert not torch.equal(before_MV[:, 7], after_MV[:, 7])


def test_only_the_asked_tokens_reach_the_decoder(checkpoint: Path) -> None:
    model, batch = built(checkpoint), asked_batch(checkpoint)
    hidden_ND = model.encoder(batch.tokens).detach().requires_grad_()
    logit_MV = words_head(model).represent(hidden_ND, batch.tokens, model.encoder)
    assert logit_MV.shape == (len(batch.target_B), len(PIECES))
    torch.autograd.backward(logit_MV.square().sum())
    assert hidden_ND.grad is not None
    reached = hidden_ND.grad.abs().sum(dim=1).nonzero().squeeze(1)
    assert batch.tokens.asked_M is not None
    assert torch.equal(reached, batch.tokens.asked_M)


# --- the checkpoint's head ---------------------------------------------------------------------


def test_a_checkpoint_of_bert_s_own_pretraining_brings_its_head(tmp_path: Path) -> None:
    reference = oracle(BertForPreTraining)
    model = built(stored(tmp_path, reference))
    assert not words_head(model).is_fresh
    batch = asked_batch(tmp_path)
    inputs = padded(batch.tokens)
    logit_RLV = reference.eval()(**inputs).prediction_logits
    assert batch.tokens.asked_M is not None
    wanted_MV = logit_RLV[inputs["attention_mask"].bool()][batch.tokens.asked_M]
    torch.testing.assert_close(model.eval()(batch), wanted_MV, atol=1e-5, rtol=1e-5)


def test_names_of_old_checkpoints_are_understood(tmp_path: Path, checkpoint: Path) -> None:
    norm = "cls.predictions.transform.LayerNorm."
    weights = load_file(checkpoint / "model.safetensors")
    old = {
        f"{norm}weight": None, f"{norm}gamma": weights[f"{norm}weight"],
        f"{norm}bias": None, f"{norm}beta": weights[f"{norm}bias"],
        "cls.predictions.bias": None,
        "cls.predictions.decoder.bias": weights["cls.predictions.bias"],
        "cls.predictions.decoder.weight": weights["bert.embeddings.word_embeddings.weight"].clone(),
    }  # fmt: skip
    found, wanted = load_words_head(stored(tmp_path, oracle(), old)), load_words_head(checkpoint)
    assert found is not None
    assert wanted is not None
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_a_decoder_of_its_own_is_refused(tmp_path: Path) -> None:
    untied = {"cls.predictions.decoder.weight": torch.zeros(len(PIECES), 16)}
    with pytest.raises(RecipeError, match="has a decoder of its own"):
        built(stored(tmp_path, oracle(), untied))


def test_half_a_head_is_refused_by_the_missing_name(tmp_path: Path) -> None:
    half = {"cls.predictions.transform.dense.bias": None}
    with pytest.raises(RecipeError, match=r"transform\.dense\.bias is missing"):
        built(stored(tmp_path, oracle(), half))


def test_without_one_the_head_starts_from_the_embedding(tmp_path: Path) -> None:
    folder = stored(tmp_path, oracle(BertModel))
    assert load_words_head(folder) is None
    model = built(folder)
    head = words_head(model)
    assert head.is_fresh
    embedding_VD = model.encoder.embeddings.word_embeddings.weight
    hidden_ND = torch.randn(4, 16)
    tokens = replace(packed([[0] * 4]), asked_M=torch.arange(4))
    wanted_NV = F.layer_norm(F.gelu(hidden_ND), (16,), eps=1e-3) @ embedding_VD.T
    found_NV = head.represent(hidden_ND, tokens, model.encoder)
    torch.testing.assert_close(found_NV, wanted_NV, atol=1e-5, rtol=1e-5)


# --- the task ----------------------------------------------------------------------------------


def test_label_smoothing_is_that_of_torch(checkpoint: Path) -> None:
    logit_MV, target_M = torch.randn(5, 9), torch.tensor([0, 8, 3, 3, 1])
    task = MaskedWords(name="w", loss={"kind": "cross_entropy", "label_smoothing": 0.1})
    wanted = F.cross_entropy(logit_MV, target_M, label_smoothing=0.1)
    torch.testing.assert_close(task.compute_loss(logit_MV, target_M), wanted)


def test_divergence_is_the_symmetrised_kl_of_the_words(checkpoint: Path) -> None:
    task, a_MV, b_MV = MaskedWords(name="w"), torch.randn(3, 6), torch.randn(3, 6)
    p, q = a_MV.log_softmax(1), b_MV.log_softmax(1)
    both = F.kl_div(p, q, log_target=True, reduction="batchmean")
    both += F.kl_div(q, p, log_target=True, reduction="batchmean")
    torch.testing.assert_close(task.divergence(a_MV, b_MV), both)


def test_perplexity_and_accuracy_are_means_over_asked_words_not_over_texts() -> None:
    readout_R3 = torch.tensor([[2.0, 1.0, 1.0], [10.0, 0.0, 4.0], [0.0, 0.0, 0.0]])
    scores = MaskedWords(name="w").scores(readout_R3, torch.zeros(3))
    assert scores == {
        "masked_accuracy": pytest.approx(0.2), "perplexity": pytest.approx(math.exp(12 / 5)),
    }  # fmt: skip


def test_judging_sums_what_transformers_says_of_the_fixed_masks(checkpoint: Path) -> None:
    model, tokenizer = built(checkpoint).eval(), Tokenizer(checkpoint)
    task = MaskedWords(name="words", mask={"share": 0.4})
    tokens = pack(tokenizer, TEXTS)
    readout_R3 = task.judge(tokens, words_head(model), model.encoder, tokenizer)
    asked, target_M = mask(tokens, fixed_draws(tokens), task.mask, tokenizer)
    logit_MV = theirs(oracle().eval(), Batch("words", asked, target_M))
    loss_M = F.cross_entropy(logit_MV, target_M, reduction="none")
    is_right_M = (logit_MV.argmax(1) == target_M).float()
    for row, part in zip(range(3), ([0, 1], [2], [3, 4, 5]), strict=True):
        wanted = torch.stack([loss_M[part].sum(), is_right_M[part].sum(), torch.tensor(len(part))])
        torch.testing.assert_close(readout_R3[row], wanted, atol=1e-4, rtol=1e-4)


def test_judging_does_not_depend_on_company_or_on_how_many_logits_are_held(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = built(checkpoint).eval(), Tokenizer(checkpoint)
    task, encoder = MaskedWords(name="words", mask={"share": 0.6}), model.encoder
    head = words_head(model)
    before = torch.get_rng_state()
    together = task.judge(pack(tokenizer, TEXTS), head, encoder, tokenizer)
    alone = [task.judge(pack(tokenizer, [text]), head, encoder, tokenizer) for text in TEXTS]
    torch.testing.assert_close(torch.cat(alone), together, atol=1e-4, rtol=1e-4)
    monkeypatch.setattr(mlm_module, "ASKED_AT_ONCE", 2)
    few = task.judge(pack(tokenizer, TEXTS), head, encoder, tokenizer)
    torch.testing.assert_close(few, together, atol=1e-5, rtol=1e-5)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_text_without_words_says_nothing_alone_as_beside_others(checkpoint: Path) -> None:
    """So scores do not depend on which texts went through the model together."""
    model, tokenizer = built(checkpoint).eval(), Tokenizer(checkpoint)
    task, head = MaskedWords(name="words"), words_head(model)
    asked = (head, model.encoder, tokenizer)
    beside = task.judge(pack(tokenizer, ["", *TEXTS, ""]), *asked)
    alone = task.judge(pack(tokenizer, ["", ""]), *asked)
    assert beside[[0, -1]].tolist() == alone.tolist() == [[0.0] * 3] * 2
    assert (beside[1:-1, 2] > 0).all()
    nothing = task.scores(alone, torch.zeros(2))
    assert nothing["masked_accuracy"] == 0
    assert math.isfinite(nothing["perplexity"])
    assert nothing["perplexity"] > 1e300


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"label": "y"}, "label: masked words have no use for it"),
        ({"test": "t.txt"}, "test: masked words have no use for it"),
        ({"encode": "joint"}, "encode: masked words have no use for it"),
        ({"train": {"file": "t.tsv", "relabel": {1: "a"}}}, "relabel: masked words have no labels"),
        ({"of": ["a", "a"]}, "of: names a task twice"),
        ({"loss": "mse"}, "needs a task that answers with a score"),
        ({"head": "linear"}, "head.kind"),
        ({"text": ["a", "b"]}, "text"),
        ({"dev_texts": 0}, "greater than 0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        MaskedWords.model_validate({"name": "w"} | settings)
    assert said in str(caught.value)


def test_dropout_of_the_head_is_drawn_in_training_only(checkpoint: Path) -> None:
    model = built(checkpoint, head={"kind": "words", "dropout": 0.5})
    batch = asked_batch(checkpoint)
    assert torch.equal(model.eval()(batch), model(batch))
    assert not torch.equal(model.train()(batch), model(batch))
