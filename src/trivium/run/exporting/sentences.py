"""A task for sentence-transformers: the encoder, pooling, and its head as dense layers.

One text a row, or pairs whose score is their cosine: a `SentenceTransformer`. Pairs that are read
together: a `CrossEncoder`. Written without the library, in the form that its versions share.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from trivium.model.multitask import Pooling
from trivium.model.pretrained import save_encoder
from trivium.model.weights import write_tensors
from trivium.parts.tasks import Task
from trivium.run.exporting.folded import Folded, folded
from trivium.run.exporting.layers import (
    Activation,
    CannotBeSaidError,
    Layer,
    plain,
    refuse_different,
    refuse_sides,
)
from trivium.run.exporting.opened import Opened
from trivium.run.exporting.readme import of_cosine, of_crossing, of_sentences, write_readme
from trivium.run.exporting.tokens import save_tokenizer

_BASE = "sentence_transformers.base.modules"
_TYPES = {
    "Transformer": f"{_BASE}.transformer.Transformer",
    "Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    "Dense": f"{_BASE}.dense.Dense",
}
_ACTIVATIONS: dict[Activation, str] = {
    "none": "torch.nn.modules.linear.Identity",
    "tanh": "torch.nn.modules.activation.Tanh",
    "gelu": "torch.nn.modules.activation.GELU",
}


def write_sentences(opened: Opened, task: Task, folder: Path) -> dict[str, Any]:
    """A folder that `SentenceTransformer` or `CrossEncoder` reads.

    Answers with what is to be said of it. Raises CannotBeSaidError where the library has no such
    head, RecipeError where it would not say the same.
    """
    if task.sequences == 2:
        return _write_cosine(opened, task, folder)
    fold = folded(plain(opened.loaded.model, task), task)
    found = fold.plain
    largest = refuse_different(opened.model, task, found)
    crosses = task.is_pair
    folder.mkdir()
    _write_encoder(opened, task, folder, crosses=crosses)
    _write_calibrated(task, fold, folder / "config.json")
    modules = [("Transformer", ""), ("Pooling", "1_Pooling")]
    _write_pooling(found.pooling, opened, folder / "1_Pooling")
    for place, layer in enumerate(found.layers, 2):
        last = place == len(found.layers) + 1
        _write_dense(layer, folder / f"{place}_Dense", scores=crosses and last)
        modules.append(("Dense", f"{place}_Dense"))
    _write_modules(modules, folder)
    write_readme(folder, task, of_crossing(task) if crosses else of_sentences(task), fold)
    known_as = "CrossEncoder" if crosses else "SentenceTransformer"
    return {"as": known_as, "largest": largest} | fold.facts()


def _write_cosine(opened: Opened, task: Task, folder: Path) -> dict[str, Any]:
    """Pairs encoded apart: the vectors, and how a score comes of their cosine."""
    model = opened.loaded.model
    refuse_sides(model, task)
    head = model.head(task.name)
    form, pooling = head.of_cosine(), head.pooling
    if form is None or pooling is None:
        kind = task.resolved_head.kind
        raise CannotBeSaidError(f"its head ({kind}) sees more of a pair than the cosine")
    layers = []
    if pooling == "pooler":
        pooler = model.encoder.pooler
        assert pooler is not None, "build gives every model that asks for one a pooler"
        layers = [Layer(pooler.dense.weight.detach(), pooler.dense.bias.detach(), "tanh")]
        pooling = "cls"
    folder.mkdir()
    _write_encoder(opened, task, folder, crosses=False)
    _write_pooling(pooling, opened, folder / "1_Pooling")
    modules = [("Transformer", ""), ("Pooling", "1_Pooling")]
    for layer in layers:
        _write_dense(layer, folder / "2_Dense", scores=False)
        modules.append(("Dense", "2_Dense"))
    _write_modules(modules, folder)
    low, high = task.scale
    write_readme(folder, task, of_cosine(form._asdict(), (low, high)))
    return {"as": "SentenceTransformer", "cosine": form._asdict(), "range": [low, high]}


# --- the files ---------------------------------------------------------------------------------


def _write_encoder(opened: Opened, task: Task, folder: Path, *, crosses: bool) -> None:
    save_encoder(opened.loaded.model.encoder, folder)
    save_tokenizer(opened, task, folder)
    reads = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}
    _write(
        folder / "sentence_bert_config.json",
        {
            "transformer_task": "feature-extraction",
            "modality_config": reads,
            "module_output_name": "token_embeddings",
        },
    )
    values: dict[str, Any] = {"prompts": {}, "default_prompt_name": None}
    if crosses:
        values |= {"model_type": "CrossEncoder", "activation_fn": _ACTIVATIONS["none"]}
    else:
        values |= {"model_type": "SentenceTransformer", "similarity_fn_name": "cosine"}
    _write(folder / "config_sentence_transformers.json", values)


def _write_calibrated(task: Task, fold: Folded, config: Path) -> None:
    """Beside the encoder's settings, as a folder for transformers has it."""
    if told := fold.facts():
        values = json.loads(config.read_text(encoding="utf-8"))
        _write(config, values | {"trivium": {"task": task.name} | told})


def _write_pooling(pooling: Pooling, opened: Opened, folder: Path) -> None:
    folder.mkdir()
    width = opened.loaded.model.encoder.config.hidden_size
    _write(folder / "config.json", {"embedding_dimension": width, "pooling_mode": pooling})


def _write_dense(layer: Layer, folder: Path, *, scores: bool) -> None:
    folder.mkdir()
    outputs, inputs = layer.weight_CF.shape
    _write(
        folder / "config.json",
        {
            "in_features": inputs,
            "out_features": outputs,
            "bias": True,
            "activation_function": _ACTIVATIONS[layer.then],
            "module_input_name": "sentence_embedding",
            "module_output_name": "scores" if scores else "sentence_embedding",
        },
    )
    tensors = {"linear.weight": layer.weight_CF, "linear.bias": layer.bias_C}
    _save(tensors, folder / "model.safetensors")


def _save(tensors: dict[str, torch.Tensor], path: Path) -> None:
    plain_ones = {name: tensor.contiguous() for name, tensor in tensors.items()}
    write_tensors(plain_ones, path)


def _write_modules(modules: Sequence[tuple[str, str]], folder: Path) -> None:
    listed = [
        {"idx": place, "name": str(place), "path": path, "type": _TYPES[kind]}
        for place, (kind, path) in enumerate(modules)
    ]
    _write(folder / "modules.json", listed)


def _write(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
