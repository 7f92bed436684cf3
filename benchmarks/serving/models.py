"""The models that are served: MiniLM with three heads, and one that can be brought down."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.inputs import DATA
from benchmarks.serving.answers import COLUMN, LABELS, POISON, TASKS
from trivium.model.multitask import MultiTaskModel
from trivium.recipe import Recipe, parse_recipe
from trivium.run.assembly.model import build
from trivium.run.folder.model import load_model, save_model
from trivium.run.folder.names import MODEL
from trivium.text.tables import open_table
from trivium.text.tokenizer import Tokenizer
from trivium.types import Row

SPREAD = 0.5
"""Standard deviation of the heads' weights: enough for labels to differ from text to text."""
SENTENCES = "ids-sst-dev.csv"
UNUSED = "[unused7]"
"""A piece that no text is ever cut into."""
EXAMPLE = Path(__file__).resolve().parents[2] / "recipes/data/support-desk/messages-train.csv"


BERT_HEAD = {"kind": "linear", "pooling": "pooler"}
"""The one that `BertForSequenceClassification` has."""


def recipe(tasks: Sequence[str] = TASKS, **settings: Any) -> Recipe:
    """Tasks on one text each, which all have these settings."""
    task = {"kind": "classification", "text": COLUMN, "labels": list(LABELS)} | settings
    values = {name: task | {"label": name} for name in tasks}
    return parse_recipe({"encoder": "minilm", "device": "cpu", "tasks": values})


def make_run(folder: Path) -> Path:
    """What `trivium train` would leave: a folder with MiniLM and three heads, untrained."""
    wanted = recipe(head=BERT_HEAD)
    model, tokenizer = build(wanted)
    for name in TASKS:
        nn.init.normal_(linear(model, name).weight, std=SPREAD)
    save_model(model, wanted.tasks, tokenizer, folder / MODEL, precision="bf16")
    return folder


def make_poisonable(run: Path, folder: Path) -> Path:
    """A run in which a word of its own, POISON, has a vector that overflows.

    Whatever text holds it makes answers that are no numbers, which raises, and no other does.
    """
    loaded = load_model(run / MODEL)
    altered = folder / "tokenizer"
    altered.mkdir(parents=True)
    loaded.tokenizer.save(altered)
    pieces = json.loads((altered / "tokenizer.json").read_text(encoding="utf-8"))
    place = pieces["model"]["vocab"].pop(UNUSED)
    pieces["model"]["vocab"][POISON] = place
    (altered / "tokenizer.json").write_text(json.dumps(pieces), encoding="utf-8")
    with torch.no_grad():
        loaded.model.encoder.embeddings.word_embeddings.weight[place] = torch.finfo().max
    save_model(
        loaded.model, loaded.tasks, Tokenizer(altered), folder / MODEL, precision=loaded.precision
    )
    shutil.rmtree(altered)
    return folder


def sentences(data: Path = DATA) -> list[str]:
    """Of SST where the file is there, else the messages of the embedded example."""
    path, column = data / SENTENCES, "sentence"
    if not path.is_file():
        path, column = EXAMPLE, COLUMN
    rows = [row for row in open_table(path) if isinstance(row, Row)]
    return [row.cells[column].strip() for row in rows]


def linear(model: MultiTaskModel, task: str) -> nn.Linear:
    """What is a head's own."""
    found = getattr(model.head(task), "linear", None)
    assert isinstance(found, nn.Linear), "the recipe asks for a linear head"
    return found
