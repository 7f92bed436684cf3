"""What a step holds in memory, as it is foretold, against what it does hold."""

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.support.native import kernels, kernels_precision, switched
from tests.support.tables import sentence, write_table
from tests.support.tensors import packed
from trivium.errors import RecipeError
from trivium.model.attention import layout
from trivium.model.encoder import Encoder, EncoderConfig
from trivium.model.native.library import SWITCH
from trivium.recipe import parse_recipe
from trivium.run.assembly.machine import keep_memory
from trivium.run.assembly.model import build
from trivium.run.rows.encoded import encode_all
from trivium.run.rows.load import load_data
from trivium.run.training import gradients
from trivium.run.training.distributed import Processes
from trivium.run.training.gradients import take_gradient
from trivium.run.training.memory import PassMemory, groups, heaviest
from trivium.run.training.parameters import start_stage
from trivium.run.training.pieces import pieces
from trivium.run.training.preview import Preview
from trivium.run.training.state import Counters
from trivium.run.training.step import train_step
from trivium.run.training.work import Setup
from trivium.text.streams import Stream


@given(st.lists(st.integers(2, 300), min_size=1, max_size=64))
def test_groups_are_those_in_which_attention_works(lengths: list[int]) -> None:
    found = layout(torch.tensor(lengths))
    assert groups(np.asarray(lengths)) == [(group.texts, group.longest) for group in found]


def kept_by_autograd(encoder: Encoder, lengths: list[int]) -> int:
    """Bytes that a pass saves for backward, but for parameters and their copies."""
    tokens = packed([[7] * length for length in lengths])
    encoder(tokens)  # so that the copies are there
    copies = [kept for m in encoder.modules() for kept in m.__dict__.get("_remade", {}).values()]
    lasting = [*encoder.parameters(), *(t for _, *made in copies for t in made if t is not None)]
    known = {tensor.untyped_storage().data_ptr() for tensor in lasting}
    found: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output_ND = encoder(tokens)
    assert output_ND.requires_grad
    return sum(found.values())


@pytest.mark.parametrize("lengths", [[40] * 16, [5 + 3 * i for i in range(32)], [200, 9, 120, 30]])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_what_backward_needs_is_what_autograd_keeps(
    lengths: list[int], precision: torch.dtype
) -> None:
    config = EncoderConfig(
        vocab_size=50, hidden_size=64, num_hidden_layers=3, num_attention_heads=4,
        intermediate_size=256, max_position_embeddings=200, has_pooler=False,
    )  # fmt: skip
    encoder = Encoder(config).train()
    encoder.precision = precision
    said = PassMemory(config, precision == torch.bfloat16).kept(np.asarray(lengths))
    with switched("0"):
        assert said == pytest.approx(kept_by_autograd(encoder, lengths), rel=0.02)


@pytest.mark.parametrize("lengths", [[40] * 16, [5 + 3 * i for i in range(32)], [200, 9, 120, 30]])
def test_compiled_layers_keep_less_the_more_lengths_differ(lengths: list[int]) -> None:
    kernels()
    config = EncoderConfig(
        vocab_size=50, hidden_size=64, num_hidden_layers=3, num_attention_heads=4,
        intermediate_size=256, max_position_embeddings=200, has_pooler=False,
    )  # fmt: skip
    encoder = Encoder(config).train()
    encoder.precision = kernels_precision()
    with switched("1"):
        output_ND = encoder(packed([[7] * length for length in lengths]))
    layers = output_ND.grad_fn.work.kept
    tensors = [
        tensor
        for layer in layers
        for part in (layer, layer.first, layer.second)
        for field in fields(part)
        if isinstance(tensor := getattr(part, field.name), torch.Tensor)
    ]
    held = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    embeddings = sum(lengths) * 3 * config.hidden_size * 4
    said = PassMemory(config, low=encoder.precision == torch.bfloat16).kept(np.asarray(lengths))
    assert 0.25 * said < sum(held.values()) + embeddings < said


@pytest.fixture
def long_values(recipe_values: dict[str, Any]) -> dict[str, Any]:
    """The three tasks, one of them with texts of 5 to 50 tokens."""
    texts = [" ".join(sentence(n * 31 + i) for i in range(1 + n % 16)) for n in range(96)]
    rows: list[list[object]] = [[text, "up" if n % 3 else "down"] for n, text in enumerate(texts)]
    write_table(Path(recipe_values["data"]) / "mood-train.tsv", ["text", "mood"], rows)
    return recipe_values


def preview(values: dict[str, Any], **stage: Any) -> Preview:
    stages = [values["stages"][0] | stage]
    recipe, data = load_data(parse_recipe(values | {"stages": stages}))
    model, tokenizer = build(recipe)
    limit = model.encoder.config.max_position_embeddings
    return Preview(recipe, data, encode_all(recipe, data, tokenizer, limit), model)


@pytest.mark.parametrize("limit", [10, 60, 150, 10_000])
@pytest.mark.parametrize("task", ["mood", "same", "near"])
def test_the_heaviest_piece_is_the_heaviest_that_training_meets(
    long_values: dict[str, Any], task: str, limit: int
) -> None:
    shown = preview(long_values)
    encoded, plan = shown.encoded[task], shown.plan(shown.recipe.stages[0])
    said = heaviest(encoded, plan, limit, 0, lambda length_R: float(length_R.sum()))
    stream = Stream(task, len(encoded), 8, 0, len(encoded))
    met = [
        len(piece.batch.tokens.ids_N)
        for _ in range(3 * stream.batches_per_epoch)
        for piece in pieces(encoded, stream.draw(), limit, Processes(), torch.device("cpu"))
    ]
    assert said == max(met)


def test_the_estimate_falls_with_the_bound_and_rises_with_what_is_held(
    long_values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What this process happens to hold falls and rises as well.
    monkeypatch.setattr("trivium.run.training.memory.memory_now", lambda: 0)

    def memory(**stage: Any) -> int:
        shown = preview(long_values, batch_size=32, **stage)
        return shown.memory(shown.recipe.stages[0]).total()

    bounds = [memory(tokens_at_once=tokens) for tokens in (64, 256, 100_000)]
    assert bounds[0] < bounds[1] < bounds[2]
    plain = memory()
    assert memory(trains="frozen") < plain
    assert memory(regularizers=[{"kind": "smart", "tasks": ["mood"]}]) > plain
    assert memory(regularizers=["bregman"]) > plain
    assert memory(sampler="joint", combiner="pcgrad") > plain


SIDES = {"kind": "pals", "size": 8, "heads": 2, "freeze_base": True}

LEARNING: dict[str, tuple[list[Any], str]] = {
    "full": ([], "full"),
    "frozen": ([], "frozen"),
    "lora": (["lora"], "full"),
    "sides": ([SIDES], "full"),
}
"""Adapters, and what of the encoder learns."""


@pytest.mark.parametrize("learning", LEARNING)
@pytest.mark.parametrize(
    "trunk", [("mood", "same", "near"), ("mood", "near"), ()], ids=["all", "two", "none"]
)
def test_gradients_kept_apart_take_what_is_foretold(
    recipe_values: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    learning: str,
    trunk: tuple[str, ...],
) -> None:
    """Of a step's three gradients, two are there beside the one of their sum."""
    adapters, trains = LEARNING[learning]
    recipe_values["tasks"]["mood"]["head"] = {"kind": "linear", "pooling": "pooler"}
    for name in trunk:  # of one form: a vector a row
        recipe_values["tasks"][name] |= {
            "encode": "joint", "head": {"kind": "mlp", "trunk": "t", "width": 8},
        }  # fmt: skip
    stage = {"sampler": "joint", "trains": trains, "conflicts_every": 1}
    if not trunk and learning in ("frozen", "sides"):
        with pytest.raises(RecipeError, match="nothing shared is trained"):
            preview(recipe_values | {"adapters": adapters}, **stage)
        return
    shown = preview(recipe_values | {"adapters": adapters}, **stage)
    (stage_of,) = shown.recipe.stages
    taken: list[list[torch.Tensor | None]] = []

    def take(shared: Sequence[nn.Parameter]) -> list[torch.Tensor | None]:
        taken.append(take_gradient(shared))
        return taken[-1]

    monkeypatch.setattr(gradients, "take_gradient", take)
    monkeypatch.setenv(
        SWITCH, "0"
    )  # kernels make the layers' gradients in one pass, in other pieces
    setup = Setup(shown.recipe, shown.encoded, shown.model, torch.device("cpu"))
    plan = shown.plan(stage_of)
    train_step(setup, stage_of, plan, start_stage(setup, stage_of, plan, Counters()))
    assert len(taken) == 3
    each = [[0 if part is None else part.numel() for part in gradient] for gradient in taken]
    beside_sum = sum(map(sum, each)) - sum(map(max, zip(*each, strict=True)))
    assert shown.memory(stage_of).kept_apart() == 4 * beside_sum
    if len(trunk) == 3:  # every task reaches all that is shared
        assert shown.memory(stage_of).kept_apart() == 4 * (3 - 1) * sum(each[0]) > 0


MANY_SHAPES = """
import ctypes, sys
import torch
from trivium.model.kernels import Linear
from trivium.run.assembly.machine import keep_memory

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
        "fordblks", "keepcost")]

mallinfo = ctypes.CDLL(None).mallinfo2
mallinfo.restype = Info
keep_memory()
torch.set_num_threads(1)
layer = Linear(64, 64)

def in_use():
    told = mallinfo()
    return told.uordblks + told.hblkhd

def step(tokens):
    layer(torch.zeros(tokens, 64, requires_grad=True)).sum().backward()

for tokens in range(1, 101):
    step(tokens)
before = in_use()
for tokens in range(101, 301):
    step(tokens)
print((in_use() - before) // 2**20)
"""


@pytest.mark.thorough
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallinfo2 is glibc's")
def test_kernels_for_numbers_of_tokens_that_are_past_are_forgotten() -> None:
    """Without a bound these 200 take some 200 MiB."""
    kept = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"}
    told = subprocess.run(
        [sys.executable, "-c", MANY_SHAPES],
        env={name: value for name, value in os.environ.items() if name not in kept},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(told.stdout) < 20


def test_a_size_of_the_caches_that_was_chosen_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "7")
    monkeypatch.setenv("LRU_CACHE_CAPACITY", "")
    monkeypatch.delenv("LRU_CACHE_CAPACITY")
    keep_memory.__wrapped__()
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "7"
    assert int(os.environ["LRU_CACHE_CAPACITY"]) < 1024
