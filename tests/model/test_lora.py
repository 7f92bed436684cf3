"""LoRA on a whole encoder: put in, trained, merged, taken out."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import BertModel

from tests.support.tensors import adapter_names, packed, relative
from trivium.errors import RecipeError
from trivium.model.encoder import Encoder, EncoderConfig
from trivium.model.lora import (
    ALL_LAYERS,
    LoraLayer,
    adapter_state,
    add_lora,
    load_adapter_state,
    lora_layers,
    merge_lora,
    module_names,
    unmerge_lora,
)
from trivium.model.ownership import is_adapter_parameter
from trivium.model.pretrained import base_state, load_encoder, save_encoder
from trivium.parts.optim import AdamW, LearningRates

TEXTS = [[3, 14, 15, 9, 26], [5, 35, 8, 9, 7]]

TOKENS = packed(TEXTS)


def tiny(**changes: Any) -> Encoder:
    shape = {
        "vocab_size": 40, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3,
        "intermediate_size": 32, "max_position_embeddings": 16,
    }  # fmt: skip
    torch.manual_seed(0)
    return Encoder(EncoderConfig.model_validate(shape | changes)).eval()


def with_lora(*on: LoraLayer, dropout: float = 0.0, fresh: bool = False) -> Encoder:
    """Rank 3 and scale 2 on the named layers, or on all."""
    encoder = tiny()
    add_lora(encoder, module_names(encoder, on or ALL_LAYERS), rank=3, alpha=6, dropout=dropout)
    if not fresh:
        with torch.no_grad():
            for _, _, pair in lora_layers(encoder):
                pair.b.normal_(std=0.3)
    return encoder


def predicted(encoder: Encoder) -> Tensor:
    with torch.inference_mode():
        return encoder.forward(TOKENS).clone()


def loss_of(encoder: Encoder) -> Tensor:
    return encoder.forward(TOKENS).float().sin().sum()


# --- in and out --------------------------------------------------------------------------------


def test_pairs_stand_under_the_names_of_their_layers() -> None:
    encoder = with_lora("query", "output")
    assert adapter_names(encoder) == [
        f"encoder.layer.{layer}.{name}.lora.{half}"
        for layer in (0, 1)
        for name in ("attention.self.query", "output.dense")
        for half in ("a", "b")
    ]
    assert base_state(encoder).keys() == tiny().state_dict().keys()


@pytest.mark.parametrize(
    ("name", "added"),
    [
        ("sides.pals.mood.down.weight", True),
        ("encoder.layer.0.attention.self.query.lora.a", True),
        ("encoder.layer.0.attention.self.query.weight", False),
        ("pooler.dense.weight", False),
    ],
)
def test_added_parameters_are_told_by_their_names(name: str, added: bool) -> None:
    assert is_adapter_parameter(name) == added


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_fresh_pair_changes_nothing(precision: torch.dtype) -> None:
    plain, encoder = tiny(), with_lora(fresh=True)
    plain.precision = encoder.precision = precision
    assert torch.equal(encoder.forward(TOKENS), plain.forward(TOKENS))
    assert torch.equal(predicted(encoder), predicted(plain))


def test_a_is_drawn_within_pefts_bounds_and_b_is_zero() -> None:
    encoder = with_lora(fresh=True)
    for _, linear, pair in lora_layers(encoder):
        bound = linear.in_features**-0.5  # Kaiming's, with negative slope sqrt(5)
        assert 0.8 * bound < pair.a.abs().max() <= bound
        assert not pair.b.any()
        assert (pair.rank, pair.alpha, pair.scale) == (3, 6, 2.0)


def test_a_second_pair_is_refused_before_anything_changes() -> None:
    encoder = with_lora("value")
    before = adapter_names(encoder)
    with pytest.raises(RecipeError, match=r"encoder.layer.0.attention.self.value has LoRA already"):
        add_lora(encoder, module_names(encoder, ("query", "value")), rank=1, alpha=1)
    assert adapter_names(encoder) == before


# --- training ----------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_training_lora_alone_leaves_the_base_as_it_was(precision: torch.dtype) -> None:
    encoder = with_lora(fresh=True)
    encoder.precision = precision
    before = {name: value.clone() for name, value in base_state(encoder).items()}
    for name, parameter in encoder.named_parameters():
        parameter.requires_grad_(is_adapter_parameter(name))
    named = [(n, p) for n, p in encoder.named_parameters() if p.requires_grad]
    optimizer = AdamW().build(named, [], LearningRates(encoder=1e-2, heads=1e-2))
    losses = []
    for _ in range(5):
        loss = loss_of(encoder)
        losses.append(float(loss.detach()))
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        # What was copied, joined, folded and packed before is out of date, and must be seen to be.
        folded, trained = predicted(encoder), encoder.forward(TOKENS)
        assert relative(folded, trained) < (1e-5 if precision == torch.float32 else 0.02)
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] - 1
    for name, value in base_state(encoder).items():
        assert torch.equal(value, before[name])


def test_bf16_forward_follows_every_step_of_the_fused_optimizer() -> None:
    encoder = with_lora()
    encoder.precision = torch.bfloat16
    named = list(encoder.named_parameters())
    optimizer = AdamW().build(named, [], LearningRates(encoder=1e-2, heads=1e-2))
    for _ in range(2):
        before = encoder.forward(TOKENS)
        torch.autograd.backward(before.float().sin().sum())
        optimizer.step()
        after = encoder.forward(TOKENS)
        fresh = with_lora()  # has never made a copy of anything
        fresh.load_state_dict(encoder.state_dict())
        fresh.precision = torch.bfloat16
        assert not torch.equal(after, before)
        assert torch.equal(after, fresh.forward(TOKENS))
        assert torch.equal(predicted(encoder), predicted(fresh))


def test_training_goes_on_after_a_prediction_in_inference_mode() -> None:
    encoder = with_lora()
    encoder.precision = torch.bfloat16
    predicted(encoder)
    torch.autograd.backward(loss_of(encoder))
    assert all(p.grad is not None for p in encoder.encoder.parameters())


def test_dropout_of_lora_acts_in_training_only() -> None:
    encoder = with_lora(dropout=0.3)
    for module in encoder.modules():
        if hasattr(module, "dropout") and not hasattr(module, "merged"):
            module.__dict__["dropout"] = 0.0
    wanted = encoder.forward(TOKENS)
    encoder.train()
    torch.manual_seed(1)
    first = encoder.forward(TOKENS)
    assert relative(first, wanted) > 1e-3
    torch.manual_seed(1)
    with torch.no_grad():
        assert relative(encoder.forward(TOKENS), first) < 1e-6
    assert torch.equal(encoder.eval().forward(TOKENS), wanted)


# --- merging -----------------------------------------------------------------------------------


@pytest.mark.parametrize("on", [(), ("query",), ("value", "intermediate"), ("output",)])
def test_merged_is_the_same_function_and_unmerged_the_same_weights(on: tuple[LoraLayer]) -> None:
    encoder = with_lora(*on)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    wanted, trained = predicted(encoder), encoder.forward(TOKENS)
    for _ in range(2):  # a second time changes nothing
        merge_lora(encoder)
        assert (predicted(encoder) - wanted).abs().max() <= 1e-5
        assert (encoder.forward(TOKENS) - trained).abs().max() <= 1e-5
    assert any(not torch.equal(value, before[k]) for k, value in encoder.state_dict().items())
    for _ in range(2):
        unmerge_lora(encoder)
        assert (predicted(encoder) - wanted).abs().max() <= 1e-5
    for name, value in encoder.state_dict().items():
        assert (value - before[name]).abs().max() <= 1e-5, name


def test_bf16_copies_follow_merging() -> None:
    encoder = with_lora()
    encoder.precision = torch.bfloat16
    wanted, trained = predicted(encoder), encoder.forward(TOKENS)
    for change in (merge_lora, unmerge_lora):
        change(encoder)
        assert relative(predicted(encoder), wanted) < 0.02
        assert relative(encoder.forward(TOKENS), trained) < 0.02


def test_merged_encoder_is_saved_as_a_plain_checkpoint_for_transformers(tmp_path: Path) -> None:
    encoder = with_lora()
    wanted = predicted(encoder)
    merge_lora(encoder)
    save_encoder(encoder, tmp_path)
    assert (predicted(load_encoder(tmp_path).eval()) - wanted).abs().max() <= 1e-5
    theirs = BertModel.from_pretrained(tmp_path).eval()
    found = theirs(torch.tensor(TEXTS)).last_hidden_state.flatten(0, 1)
    assert (found - wanted).abs().max() <= 1e-5


def test_tensors_of_merged_lora_are_not_handed_out_to_be_added_twice() -> None:
    encoder = with_lora()
    tensors = adapter_state(encoder)
    merge_lora(encoder)
    for action in (lambda: adapter_state(encoder), lambda: load_adapter_state(encoder, tensors)):
        with pytest.raises(RecipeError, match="unmerge_lora"):
            action()
    unmerge_lora(encoder)
    assert adapter_state(encoder).keys() == tensors.keys()
