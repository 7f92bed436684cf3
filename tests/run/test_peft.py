"""PEFT's format both ways, with the `peft` library as the oracle."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import BertConfig, BertForSequenceClassification, BertModel

from tests.support.tensors import adapter_names, packed
from trivium.errors import RecipeError
from trivium.model.encoder import Encoder
from trivium.model.lora import (
    LoraLayer,
    add_lora,
    lora_layers,
    merge_lora,
    module_names,
)
from trivium.model.pretrained import load_encoder
from trivium.parts.adapters import LoRA
from trivium.run.assembly.peft import export_peft, import_peft

# The library's own words about transformers and torch are not ours to fail on.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

SHAPE: dict[str, Any] = {
    "vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 24, "max_position_embeddings": 32,
}  # fmt: skip

TEXTS = [[3, 14, 15, 9, 26], [5, 35, 8, 9, 7]]

EVERY: tuple[LoraLayer, ...] = (
    "query", "key", "value", "attention_output", "intermediate", "output",
)  # fmt: skip

SUBSETS: list[tuple[LoraLayer, ...]] = [
    EVERY, ("query", "value"), ("output",), ("attention_output",), ("intermediate", "output"),
    ("attention_output", "output", "key"), ("query", "pooler"),
]  # fmt: skip


@pytest.fixture
def base(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    folder = tmp_path / "base"
    model = BertModel(BertConfig(**SHAPE))
    with torch.no_grad():  # larger than BERT's own start, so that attention is not nearly even
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=parameter.shape[1] ** -0.5)
    model.save_pretrained(folder)
    return folder


def hidden_there(theirs: torch.nn.Module) -> Tensor:
    found = theirs.eval()(torch.tensor(TEXTS))
    return torch.cat([found.last_hidden_state.flatten(0, 1), found.pooler_output])


def hidden_here(ours: Encoder) -> Tensor:
    """Of all tokens, and below them the poolers' answers."""
    found = ours.eval().forward(packed(TEXTS))
    assert ours.pooler is not None
    return torch.cat([found, ours.pooler(found[[0, len(TEXTS[0])]])])


def trained(base: Path, config: LoraConfig) -> PeftModel:
    """A model of the library's, with values that training could have left."""
    torch.manual_seed(1)
    model = get_peft_model(BertModel.from_pretrained(base), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    return model


def lora_encoder(base: Path, on: tuple[LoraLayer, ...], rank: int = 3, alpha: float = 6) -> Encoder:
    encoder = load_encoder(base)
    torch.manual_seed(2)
    add_lora(encoder, module_names(encoder, on), rank=rank, alpha=alpha)
    with torch.no_grad():
        for _, _, pair in lora_layers(encoder):
            pair.b.normal_(std=0.3)
    return encoder


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(RecipeError) as caught:
        action()
    return str(caught.value)


# --- out ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("on", SUBSETS, ids="+".join)
@pytest.mark.parametrize("alpha", [6.0, 0.75])
def test_what_we_export_computes_the_same_in_peft(
    on: tuple[LoraLayer, ...], alpha: float, base: Path, tmp_path: Path
) -> None:
    encoder = lora_encoder(base, on, alpha=alpha)
    wanted = hidden_here(encoder)
    export_peft(encoder, tmp_path / "lora", str(base))
    plain = BertModel.from_pretrained(base)
    before = hidden_there(plain)
    theirs = PeftModel.from_pretrained(plain, tmp_path / "lora")
    found = hidden_there(theirs)
    assert (before - wanted).abs().max() > 1e-3
    assert (found - wanted).abs().max() <= 1e-5
    assert theirs.peft_config["default"].base_model_name_or_path == str(base)
    layers = {name.split(".lora_")[0] for name, _ in theirs.named_modules() if ".lora_A" in name}
    assert len(layers) == len(list(lora_layers(encoder)))


def test_what_we_export_fits_a_bert_with_a_head_as_well(base: Path, tmp_path: Path) -> None:
    encoder = lora_encoder(base, ("query", "output"))
    export_peft(encoder, tmp_path / "lora", str(base))
    config = LoraConfig.from_pretrained(str(tmp_path / "lora"))
    config.base_model_name_or_path = None
    model = get_peft_model(BertForSequenceClassification(BertConfig(**SHAPE)), config)
    assert sum("lora_A" in name for name, _ in model.named_parameters()) == 4


def test_ours_comes_back_as_it_was(base: Path, tmp_path: Path) -> None:
    source, target = lora_encoder(base, ("key", "output"), alpha=1.5), load_encoder(base)
    export_peft(source, tmp_path, "base")
    import_peft(target, tmp_path)
    assert torch.equal(hidden_here(target), hidden_here(source))
    assert adapter_names(target) == adapter_names(source)


def test_an_encoder_that_the_format_cannot_hold_is_refused(base: Path, tmp_path: Path) -> None:
    assert "no LoRA" in refusal(lambda: export_peft(load_encoder(base), tmp_path, "base"))
    encoder = lora_encoder(base, ("key",), rank=3)
    add_lora(encoder, module_names(encoder, EVERY[:1]), rank=2, alpha=2)
    message = refusal(lambda: export_peft(encoder, tmp_path, "base"))
    assert "one rank" in message


# --- in ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"r": 4, "lora_alpha": 8, "target_modules": ["query", "value"]},
        {"r": 2, "lora_alpha": 3, "target_modules": "all-linear"},
        {"r": 2, "lora_alpha": 3, "target_modules": ["key", "output.dense"], "lora_dropout": 0.1},
        {"r": 3, "lora_alpha": 3, "target_modules": r".*layer\.1\..*(query|dense)"},
        {"r": 4, "lora_alpha": 8, "target_modules": ["dense"], "use_rslora": True},
        {"r": 1, "lora_alpha": 2, "target_modules": ["query"], "layers_to_transform": [1]},
        {"r": 4, "target_modules": ["query"], "init_lora_weights": "gaussian"},
    ],
    ids=str,
)
def test_what_peft_saved_computes_the_same_here(
    settings: dict[str, Any], base: Path, tmp_path: Path
) -> None:
    theirs = trained(base, LoraConfig(**settings))
    theirs.save_pretrained(str(tmp_path / "lora"))
    ours = load_encoder(base)
    before = hidden_here(ours)
    import_peft(ours, tmp_path / "lora")
    wanted = hidden_there(theirs)
    assert (before - wanted).abs().max() > 1e-3
    assert (hidden_here(ours) - wanted).abs().max() <= 1e-5
    merge_lora(ours)
    assert (hidden_here(ours) - wanted).abs().max() <= 1e-5
    assert all(pair.dropout == settings.get("lora_dropout", 0) for *_, pair in lora_layers(ours))


def test_an_adapter_trained_under_a_head_is_read_without_the_head(
    base: Path, tmp_path: Path
) -> None:
    config = LoraConfig(r=2, target_modules=["query"], task_type="SEQ_CLS")
    torch.manual_seed(1)
    model = get_peft_model(BertForSequenceClassification.from_pretrained(base), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    model.save_pretrained(str(tmp_path / "lora"))
    assert any("classifier" in name for name in load_file(tmp_path / "lora" / TENSORS))
    ours = load_encoder(base)
    import_peft(ours, tmp_path / "lora")
    theirs = model.get_submodule("base_model.model.bert")
    assert (hidden_here(ours) - hidden_there(theirs)).abs().max() <= 1e-5


def test_an_encoder_that_has_lora_takes_the_values(base: Path, tmp_path: Path) -> None:
    theirs = trained(base, LoraConfig(r=3, lora_alpha=6, target_modules=["query", "value"]))
    theirs.save_pretrained(str(tmp_path / "lora"))
    ours = load_encoder(base)
    LoRA(rank=3, alpha=6, on=("query", "value")).attach(ours, ["mood"])
    import_peft(ours, tmp_path / "lora")
    assert (hidden_here(ours) - hidden_there(theirs)).abs().max() <= 1e-5

    for part, problem in (
        (LoRA(rank=2, alpha=6, on=("query", "value")), "rank 3 and alpha 6, but the encoder's"),
        (LoRA(rank=3, on=("query", "value")), "encoder's LoRA has rank 3 and alpha 3"),
        (LoRA(rank=3, alpha=6), "only the encoder has LoRA on"),
        (LoRA(rank=3, alpha=6, on=("query",)), "only the adapter has LoRA on"),
    ):
        other = load_encoder(base)
        part.attach(other, ["mood"])
        assert problem in refusal(partial(import_peft, other, tmp_path / "lora"))
    merge_lora(ours)
    assert "unmerge_lora" in refusal(lambda: import_peft(ours, tmp_path / "lora"))


# --- refusing ----------------------------------------------------------------------------------

TENSORS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


@pytest.fixture
def lora(base: Path, tmp_path: Path) -> Path:
    """A good adapter, for the tests to spoil."""
    export_peft(lora_encoder(base, ("query", "value")), tmp_path / "lora", "base")
    return tmp_path / "lora"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"peft_type": "PREFIX_TUNING"}, "peft_type is 'PREFIX_TUNING'; only 'LORA'"),
        ({"peft_type": None}, "peft_type is None"),
        ({"use_dora": True}, "use_dora is True; only plain LoRA"),
        ({"bias": "all"}, "bias is 'all'"),
        ({"rank_pattern": {"query": 4}}, "rank_pattern is {'query': 4}"),
        ({"alpha_pattern": {"query": 4}}, "alpha_pattern"),
        ({"layer_replication": [[0, 1]]}, "layer_replication"),
        ({"some_new_setting": 1}, "some_new_setting is 1"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa'"),
        ({"r": 0}, "r is 0"),
        ({"r": "8"}, "r is '8'"),
        ({"lora_alpha": None}, "lora_alpha is None"),
        ({"lora_dropout": 1.5}, "lora_dropout is 1.5"),
        ({"target_modules": None}, "target_modules is None"),
        ({"target_modules": [1]}, "target_modules is [1]"),
        ({"target_modules": "("}, "is no pattern"),
        ({"layers_to_transform": ["one"]}, "layers_to_transform is ['one']"),
        ({"r": 4}, "lora_A.weight has shape [3, 16]; rank 4 and this encoder ask for [4, 16]"),
        ({"target_modules": ["q_proj"]}, "['q_proj'] name no linear layer of a BERT"),
        ({"target_modules": ["query"]}, "self.value, which is not among target_modules ['query']"),
        ({"target_modules": ["query", "value", "key"]}, "self.key.lora_A.weight is missing"),
    ],
)
def test_settings_that_cannot_be_honoured_are_refused_by_name(
    changes: dict[str, Any], problem: str, base: Path, lora: Path
) -> None:
    told = json.loads((lora / CONFIG).read_text())
    (lora / CONFIG).write_text(json.dumps(told | changes))
    encoder = load_encoder(base)
    assert problem in refusal(lambda: import_peft(encoder, lora))
    assert adapter_names(encoder) == []  # nothing was half done


QUERY = "base_model.model.encoder.layer.1.attention.self.query"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({f"{QUERY}.lora_A.weight": None}, f"{QUERY}.lora_A.weight is missing"),
        ({f"{QUERY}.lora_B.weight": None}, f"{QUERY}.lora_B.weight is missing"),
        ({f"{QUERY}.lora_A.weight": (3, 17)}, "has shape [3, 17]"),
        ({f"{QUERY}.lora_B.weight": (16, 2)}, "has shape [16, 2]"),
        ({QUERY.replace(".1.", ".7.") + ".lora_A.weight": (3, 16)}, "which has 2 layers"),
        ({"base_model.model.pooler.dense.weight": (16, 16)}, "is not LoRA's"),
        ({"base_model.model.embeddings.word_embeddings.lora_embedding_A": (3, 60)}, "not LoRA's"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_by_name(
    changes: dict[str, tuple[int, int] | None], problem: str, base: Path, lora: Path
) -> None:
    tensors = load_file(lora / TENSORS)
    for name, shape in changes.items():
        tensors.pop(name, None)
        if shape is not None:
            tensors[name] = torch.zeros(shape)
    save_file(tensors, lora / TENSORS)
    encoder = load_encoder(base)
    message = refusal(lambda: import_peft(encoder, lora))
    assert str(lora / TENSORS) in message
    assert problem in message
    assert adapter_names(encoder) == []


def test_pooler_that_the_encoder_lacks_is_refused(base: Path, tmp_path: Path) -> None:
    export_peft(lora_encoder(base, ("pooler",)), tmp_path / "lora", "base")
    encoder = load_encoder(base)
    encoder.pooler = None
    assert "pooler.dense is no linear layer" in refusal(
        lambda: import_peft(encoder, tmp_path / "lora")
    )


@pytest.mark.parametrize("missing", [TENSORS, CONFIG])
def test_missing_and_damaged_files_are_refused_by_name(
    missing: str, base: Path, lora: Path
) -> None:
    encoder = load_encoder(base)
    (lora / missing).write_bytes(b"{")
    assert str(lora / missing) in refusal(lambda: import_peft(encoder, lora))
    (lora / missing).unlink()
    message = refusal(lambda: import_peft(encoder, lora))
    assert str(lora / missing) in message
    assert "no such file" in message
