"""Checkpoints: every way a BERT is stored is read; everything else is refused by name."""

import importlib.util
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModel, BertConfig, BertForPreTraining, BertModel

from tests.support.tensors import packed
from trivium.errors import RecipeError
from trivium.model import pretrained
from trivium.model.encoder import Encoder, EncoderConfig
from trivium.model.pretrained import base_state, find_checkpoint, load_encoder, save_encoder
from trivium.parts.adapters import Houlsby, LoRA, PALs

SHAPE: dict[str, Any] = {
    "vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 24, "max_position_embeddings": 32,
}  # fmt: skip

Weights = dict[str, Tensor]


def bert(*, has_pooler: bool = True) -> BertModel:
    torch.manual_seed(0)
    return BertModel(BertConfig(**SHAPE), add_pooling_layer=has_pooler).eval()


def weights_of(model: BertModel) -> Weights:
    return {name: value.clone() for name, value in model.state_dict().items()}


def stored(folder: Path, weights: Weights, file: str = "model.safetensors") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(SHAPE | {"model_type": "bert"}))
    if file == "model.safetensors":
        save_file(weights, folder / file)
    else:
        torch.save(weights, folder / file)
    return folder


def assert_holds(encoder: Encoder, weights: Weights) -> None:
    found = encoder.state_dict()
    assert found.keys() == weights.keys()
    for name, value in weights.items():
        assert found[name].dtype == torch.float32
        assert torch.equal(found[name], value.float()), name
    assert all(parameter.requires_grad for parameter in encoder.parameters())


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(RecipeError) as caught:
        action()
    return str(caught.value)


# --- reading -----------------------------------------------------------------------------------


def with_prefix(weights: Weights) -> Weights:
    return {f"bert.{name}": value for name, value in weights.items()}


def with_old_names(weights: Weights) -> Weights:
    def old(name: str) -> str:
        name = name.replace("LayerNorm.weight", "LayerNorm.gamma")
        return name.replace("LayerNorm.bias", "LayerNorm.beta")

    return {old(name): value for name, value in weights.items()}


def with_heads(weights: Weights) -> Weights:
    extra = {
        "cls.predictions.bias": torch.zeros(60),
        "cls.predictions.transform.LayerNorm.gamma": torch.ones(16),
        "cls.seq_relationship.weight": torch.zeros(2, 16),
        "bert.embeddings.position_ids": torch.arange(32)[None],
    }
    return with_prefix(weights) | extra


def unchanged(weights: Weights) -> Weights:
    return weights


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("disguise", [unchanged, with_prefix, with_old_names, with_heads])
@pytest.mark.parametrize("has_pooler", [True, False])
def test_weights_are_read_however_they_are_stored(
    file: str, disguise: Callable[[Weights], Weights], has_pooler: bool, tmp_path: Path
) -> None:
    weights = weights_of(bert(has_pooler=has_pooler))
    encoder = load_encoder(stored(tmp_path, disguise(weights), file))
    assert_holds(encoder, weights)
    assert encoder.config.has_pooler == has_pooler == (encoder.pooler is not None)


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_any_precision_become_fp32(
    file: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    weights = {name: value.to(dtype) for name, value in weights_of(bert()).items()}
    assert_holds(load_encoder(stored(tmp_path, weights, file)), weights)


def test_checkpoint_written_by_transformers_with_its_heads_is_read(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = BertForPreTraining(BertConfig(**SHAPE))
    theirs.save_pretrained(tmp_path)
    assert_holds(load_encoder(tmp_path), weights_of(theirs.bert))


def test_safetensors_are_preferred_to_a_pickle(tmp_path: Path) -> None:
    weights = weights_of(bert())
    stored(tmp_path, {name: value + 1 for name, value in weights.items()}, "pytorch_model.bin")
    assert_holds(load_encoder(stored(tmp_path, weights)), weights)


def sharded(folder: Path, weights: Weights, shards: int = 3) -> Path:
    """The checkpoint in so many files, with their index; no model.safetensors."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(SHAPE | {"model_type": "bert"}))
    places: dict[str, str] = {}
    for number in range(shards):
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = {name: weights[name] for name in sorted(weights)[number::shards]}
        save_file(part, folder / file)
        places |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


@pytest.mark.parametrize("disguise", [unchanged, with_prefix, with_old_names, with_heads])
def test_shards_are_read_as_one(disguise: Callable[[Weights], Weights], tmp_path: Path) -> None:
    weights = weights_of(bert())
    assert_holds(load_encoder(sharded(tmp_path, disguise(weights))), weights)


def test_shards_written_by_transformers_are_read(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = BertForPreTraining(BertConfig(**SHAPE))
    theirs.save_pretrained(tmp_path, max_shard_size="8KB")
    assert not (tmp_path / "model.safetensors").exists()
    assert_holds(load_encoder(tmp_path), weights_of(theirs.bert))


FIRST = "model-00001-of-00003.safetensors"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda _: [1], "model.safetensors.index.json: holds list, not an object"),
        (lambda _: {"a": 1}, "has no table `weight_map` from tensors to files"),
        (lambda _: {"weight_map": {}}, "has no table `weight_map`"),
        (lambda _: {"weight_map": [1]}, "has no table `weight_map`"),
        (lambda _: {"weight_map": {"a": 7}}, "says that a stands in 7, which is no safet"),
        (
            lambda _: {"weight_map": {"a": "../out.safetensors"}},
            "says that a stands in '../out.safetensors', which is no safetensors file of this fold",
        ),
        (lambda _: {"weight_map": {"a": "/etc/x.safetensors"}}, "is no safetensors file of"),
        (
            lambda _: {"weight_map": {"a": "none.safetensors"}},
            "none.safetensors: no such file, but model.safetensors.index.json names it as a shard",
        ),
        (
            lambda index: {"weight_map": index["weight_map"] | {"more": FIRST}},
            f"{FIRST}: lacks more, which model.safetensors.index.json says it holds",
        ),
        (
            lambda index: {"weight_map": dict(list(index["weight_map"].items())[1:])},
            f"{FIRST}: holds embeddings.LayerNorm.bias, of which model.safetensors.index.json does",
        ),
    ],
)
def test_a_fault_of_an_index_is_one_line(
    change: Callable[[Any], Any], said: str, tmp_path: Path
) -> None:
    path = sharded(tmp_path, weights_of(bert())) / "model.safetensors.index.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    message = refusal(lambda: load_encoder(tmp_path))
    assert said in message
    assert "\n" not in message


def test_a_shard_that_is_missing_or_cut_is_refused_by_name(tmp_path: Path) -> None:
    folder = sharded(tmp_path, weights_of(bert()))
    os.truncate(folder / FIRST, 40)
    assert f"{FIRST}: is truncated" in refusal(lambda: load_encoder(folder))
    (folder / FIRST).unlink()
    assert f"{FIRST}: no such file" in refusal(lambda: load_encoder(folder))
    (folder / "model.safetensors.index.json").rename(folder / "pytorch_model.bin.index.json")
    assert "pickled shards are not read" in refusal(lambda: load_encoder(folder))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_one_number_that_is_none_is_found_in_any_precision(
    value: float, dtype: torch.dtype, tmp_path: Path
) -> None:
    weights = {name: tensor.to(dtype) for name, tensor in weights_of(bert()).items()}
    load_encoder(stored(tmp_path / "whole", weights))
    name = "embeddings.word_embeddings.weight"
    weights[name][17, 5] = value
    said = refusal(lambda: load_encoder(stored(tmp_path / "broken", weights)))
    assert f"tensor {name} holds NaN or infinity" in said


# --- writing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("has_pooler", [True, False])
def test_saved_encoder_is_the_same_for_us_and_for_transformers(
    has_pooler: bool, tmp_path: Path
) -> None:
    shape = SHAPE | {"has_pooler": has_pooler, "layer_norm_eps": 1e-3, "type_vocab_size": 3}
    torch.manual_seed(0)
    encoder = Encoder(EncoderConfig.model_validate(shape)).eval()
    save_encoder(encoder, tmp_path)

    again = load_encoder(tmp_path)
    assert again.config == encoder.config
    assert_holds(again, encoder.state_dict())

    theirs = AutoModel.from_pretrained(
        tmp_path, attn_implementation="eager", add_pooling_layer=has_pooler
    ).eval()
    ids, segments = [[3, 14, 15, 9, 26], [5, 35, 8, 9, 7]], [[0, 0, 1, 1, 2], [0, 2, 1, 0, 0]]
    wanted = theirs(torch.tensor(ids), token_type_ids=torch.tensor(segments)).last_hidden_state
    found_ND = encoder.forward(packed(ids, segments))
    assert (found_ND - wanted.flatten(0, 1)).abs().max() <= 1e-5


def test_sides_and_lora_are_not_saved_with_the_encoder(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = Encoder(EncoderConfig.model_validate(SHAPE))
    wanted = {name: value.clone() for name, value in encoder.state_dict().items()}
    for adapter in (PALs(), Houlsby(size=3), LoRA(rank=2)):
        adapter.attach(encoder, ["mood"])
    assert len(encoder.state_dict()) > len(wanted)
    save_encoder(encoder, tmp_path)
    assert_holds(load_encoder(tmp_path), wanted)
    assert base_state(encoder).keys() == wanted.keys()


# --- refusing ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model_type", "roberta"), ("hidden_act", "relu"), ("is_decoder", True),
        ("position_embedding_type", "relative_key"), ("hidden_size", -16),
        ("num_hidden_layers", "two"),
    ],
)  # fmt: skip
def test_other_architecture_is_refused_with_its_key_and_value(
    key: str, value: object, tmp_path: Path
) -> None:
    stored(tmp_path, weights_of(bert()))
    config = SHAPE | {"model_type": "bert", key: value}
    (tmp_path / "config.json").write_text(json.dumps(config))
    message = refusal(lambda: load_encoder(tmp_path))
    assert str(tmp_path / "config.json") in message
    assert key in message
    assert repr(value) in message


@pytest.mark.parametrize("content", ["", "{", "[1]", "\xff"])
def test_damaged_configuration_is_refused_by_name(content: str, tmp_path: Path) -> None:
    stored(tmp_path, weights_of(bert()))
    (tmp_path / "config.json").write_bytes(content.encode("latin-1"))
    assert str(tmp_path / "config.json") in refusal(lambda: load_encoder(tmp_path))


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_missing_file_is_refused_by_name(missing: str, tmp_path: Path) -> None:
    stored(tmp_path, weights_of(bert()))
    (tmp_path / missing).unlink()
    message = refusal(lambda: load_encoder(tmp_path))
    assert str(tmp_path) in message
    assert missing in message


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.01, 0.3, 0.9, 0.9999])
@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin", "old.bin"])
def test_truncated_weights_are_refused_by_name(file: str, share: float, tmp_path: Path) -> None:
    is_old, file = file == "old.bin", file.replace("old", "pytorch_model")
    path = stored(tmp_path, weights_of(bert()), file) / file
    if is_old:  # before torch 1.6 a checkpoint was a bare pickle, not an archive
        torch.save(weights_of(bert()), path, _use_new_zipfile_serialization=False)
    os.truncate(path, int(path.stat().st_size * share))
    message = refusal(lambda: load_encoder(tmp_path))
    assert str(path) in message
    assert "truncated" in message


class Attack:
    """What a hostile checkpoint does when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.trace),)


def test_pickled_code_is_refused_and_never_run(tmp_path: Path) -> None:
    trace = tmp_path / "was-here"
    hostile: dict[str, Any] = {**weights_of(bert()), "payload": Attack(trace)}
    stored(tmp_path, hostile, "pytorch_model.bin")
    message = refusal(lambda: load_encoder(tmp_path))
    assert "holds more than tensors" in message
    assert not trace.exists()


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}])
def test_pickle_of_something_else_is_refused(content: Any, tmp_path: Path) -> None:
    stored(tmp_path, content, "pytorch_model.bin")
    assert "not a table of tensors" in refusal(lambda: load_encoder(tmp_path))


KEY = "encoder.layer.1.attention.self.key.weight"


def test_missing_unexpected_and_wrongly_shaped_tensors_are_refused_by_name(tmp_path: Path) -> None:
    weights = weights_of(bert())
    lacking = {name: value for name, value in weights.items() if name != KEY}
    for changed, problem in (
        (lacking, f"tensor {KEY} is missing"),
        (weights | {"encoder.extra": torch.zeros(1)}, "tensor encoder.extra has no place"),
        (weights | {KEY: torch.zeros(16, 17)}, f"tensor {KEY} has shape [16, 17], but config.json"),
    ):
        folder = stored(tmp_path, changed)
        assert f"{folder}: {problem}" in refusal(lambda: load_encoder(tmp_path))


# --- hostile files -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        {"num_hidden_layers": 10**9}, {"num_hidden_layers": 999}, {"hidden_size": 10**30},
        {"vocab_size": 2**24}, {"vocab_size": 10**5000}, {"intermediate_size": 2**20},
        {"hidden_size": [1]}, {"hidden_size": None}, {"layer_norm_eps": float("inf")},
        {"layer_norm_eps": float("nan")}, {"hidden_dropout_prob": "x" * 10**5},
        {"model_type": {"a": [1] * 1000}}, {"pad_token_id": 10**12},
    ],
    ids=lambda values: str(values)[:40] if 10**5000 not in values.values() else "digits",
)  # fmt: skip
def test_claims_that_the_weights_do_not_bear_out_are_refused_before_memory_is_taken(
    values: dict[str, Any], tmp_path: Path
) -> None:
    stored(tmp_path, weights_of(bert()))
    text = json.dumps(SHAPE | {"model_type": "bert"})
    given = ", ".join(f"{json.dumps(key)}: {_digits(value)}" for key, value in values.items())
    (tmp_path / "config.json").write_text(text[:-1] + ", " + given + "}")
    message = refusal(lambda: load_encoder(tmp_path))
    assert message.startswith(str(tmp_path))
    assert len(message.replace(str(tmp_path), "")) < 400
    assert "\n" not in message


def _digits(value: object) -> str:
    return "1" + "0" * 5000 if value == 10**5000 else json.dumps(value)


@pytest.mark.parametrize(
    "content", ["[" * 10**6, '{"model_type": ' * 10**5, "1" * 10**5], ids=["lists", "tables", "1"]
)
def test_json_that_is_nested_without_end_is_refused(content: str, tmp_path: Path) -> None:
    stored(tmp_path, weights_of(bert()))
    (tmp_path / "config.json").write_text(content)
    assert "cannot be read as JSON" in refusal(lambda: load_encoder(tmp_path))


def test_a_json_file_of_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    stored(tmp_path, weights_of(bert()))
    os.truncate(tmp_path / "config.json", 2**33)  # a hole, which takes no room
    assert "has 8,192 MiB, more than the 64" in refusal(lambda: load_encoder(tmp_path))


@pytest.mark.parametrize(
    ("length", "header"),
    [
        (2**40, b"{}"),
        (0, b""),
        (2, b"[]"),
        (10**6, b"{" * 10**6),
        (
            83,
            b'{"a": {"dtype": "F32", "shape": [10000000000], "data_offsets": [0, 40000000000]}}  ',
        ),
        (62, b'{"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}'),
    ],
    ids=["long", "empty", "list", "deep", "huge", "kind"],
)
def test_a_header_that_claims_more_than_its_file_is_refused(
    length: int, header: bytes, tmp_path: Path
) -> None:
    path = stored(tmp_path, weights_of(bert())) / "model.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + header + b"\0" * 4)
    message = refusal(lambda: load_encoder(tmp_path))
    assert f"{path}: is truncated or not a safetensors file" in message
    assert "\n" not in message


def test_a_compressed_archive_of_weights_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = stored(tmp_path, {"a": torch.zeros(10**6)}, "pytorch_model.bin") / "pytorch_model.bin"
    with zipfile.ZipFile(path) as old:
        entries = {entry.filename: old.read(entry) for entry in old.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        for name, content in entries.items():
            bomb.writestr(name, content)
    assert "is compressed" in refusal(lambda: load_encoder(tmp_path))


def test_a_tensor_that_repeats_one_number_without_end_is_refused(tmp_path: Path) -> None:
    stored(tmp_path, {"a": torch.zeros(1).expand(10**12)}, "pytorch_model.bin")
    assert "claims more numbers than the file holds" in refusal(lambda: load_encoder(tmp_path))


# --- finding -----------------------------------------------------------------------------------


def test_folder_is_found_relative_to_its_base(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    assert find_checkpoint("mine", tmp_path) == tmp_path / "mine"
    assert find_checkpoint(str(tmp_path / "mine")) == tmp_path / "mine"


@pytest.mark.parametrize("name", ["./none", "/no/such/folder", "~/no-such-folder", "a/b/c"])
def test_missing_folder_is_refused(name: str, tmp_path: Path) -> None:
    assert "no folder" in refusal(lambda: find_checkpoint(name, tmp_path))


def test_file_is_refused_as_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.bin").touch()
    assert f"{tmp_path / 'a.bin'} is a file" in refusal(lambda: find_checkpoint("a.bin", tmp_path))


def test_unknown_hub_name_is_refused_offline_with_the_reason(tmp_path: Path) -> None:
    message = refusal(lambda: find_checkpoint("nobody/no-such-model", tmp_path))
    assert "'nobody/no-such-model'" in message
    assert "HF_HUB_OFFLINE is set" in message


def test_impossible_hub_name_is_refused(tmp_path: Path) -> None:
    message = refusal(lambda: find_checkpoint("no such!model", tmp_path))
    assert "neither a folder nor a hub name" in message


def test_altered_or_missing_minilm_is_refused(
    minilm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / pretrained.MINILM_PACKAGE
    shutil.copytree(minilm, package / "model", ignore=shutil.ignore_patterns("*.json", "*.txt"))
    spec = ModuleSpec(pretrained.MINILM_PACKAGE, None, origin=str(package / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)
    assert find_checkpoint("minilm") == package / "model"

    weights = package / "model" / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    message = refusal(lambda: find_checkpoint("minilm"))
    assert str(weights) in message
    assert "altered" in message
    weights.unlink()
    assert str(weights) in refusal(lambda: find_checkpoint("minilm"))


def test_minilm_that_is_not_installed_is_refused_with_the_line_to_type(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert pretrained.MINILM_INSTALL in refusal(lambda: find_checkpoint("minilm"))
