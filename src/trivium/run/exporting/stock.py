"""A task as a stock `BertForSequenceClassification`: BERT's pooler, and one linear layer on it."""

import json
from pathlib import Path
from typing import Any

import torch

from trivium.model.pretrained import base_state, config_values
from trivium.model.weights import write_tensors
from trivium.parts.tasks import Labelled, Multilabel, Task
from trivium.run.exporting.folded import Folded, folded
from trivium.run.exporting.layers import CannotBeSaidError, Layer, Plain, plain, refuse_different
from trivium.run.exporting.opened import Opened
from trivium.run.exporting.readme import of_stock, write_readme
from trivium.run.exporting.tokens import save_tokenizer

SMALL = 2.0**-20
"""A power of two: multiplying by it is exact, and of what is then so small tanh changes nothing."""


def write_stock(opened: Opened, task: Task, folder: Path) -> dict[str, Any]:
    """A folder that `AutoModelForSequenceClassification` and `pipeline` read.

    Answers with what is to be said of it. Raises CannotBeSaidError where stock BERT has no such
    head, RecipeError where it would not say the same.
    """
    fold = folded(plain(opened.loaded.model, task), task)
    found = _as_stock(fold.plain)
    largest = refuse_different(opened.model, task, found)
    folder.mkdir()
    pooler, classifier = found.layers
    encoder = opened.loaded.model.encoder
    state = {f"bert.{name}": tensor for name, tensor in base_state(encoder).items()}
    state |= {"bert.pooler.dense.weight": pooler.weight_CF, "bert.pooler.dense.bias": pooler.bias_C}
    state |= {"classifier.weight": classifier.weight_CF, "classifier.bias": classifier.bias_C}
    tensors = {name: tensor.detach().contiguous() for name, tensor in state.items()}
    write_tensors(tensors, folder / "model.safetensors")
    values = config_values(encoder.config) | _labels(task, fold)
    values |= {"architectures": ["BertForSequenceClassification"]}
    (folder / "config.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    save_tokenizer(opened, task, folder)
    write_readme(folder, task, of_stock(task), fold)
    return {"as": "BertForSequenceClassification", "largest": largest} | fold.facts()


def _as_stock(found: Plain) -> Plain:
    """With a layer in the pooler's place: BERT's own, or one that changes nothing."""
    *first, last = found.layers
    if found.pooling != "cls":
        raise CannotBeSaidError(
            f"its head pools by `{found.pooling}`, and stock BERT by its first token only; "
            "take --to sentence-transformers"
        )
    if first and [layer.then for layer in first] != ["tanh"]:
        raise CannotBeSaidError(
            "its head has hidden layers, and stock BERT has none; take --to sentence-transformers"
        )
    if first:
        return found
    width = last.weight_CF.shape[1]
    same = Layer(torch.eye(width) * SMALL, torch.zeros(width), "tanh")
    return Plain("cls", (same, Layer(last.weight_CF / SMALL, last.bias_C)))


def _labels(task: Task, fold: Folded) -> dict[str, Any]:
    """What a `config.json` says of the answers."""
    names = task.names if isinstance(task, Labelled) else [task.name]
    own: dict[str, Any] = {"task": task.name}
    if isinstance(task, Multilabel):
        own["threshold"] = task.threshold
    if not isinstance(task, Labelled):
        own["range"] = list(task.scale)  # answers are clipped to it, outputs here are not
    return {
        "problem_type": task.problem_type,
        "id2label": {str(index): name for index, name in enumerate(names)},
        "label2id": {name: index for index, name in enumerate(names)},
        "trivium": own | fold.facts(),
    }
