"""The models that are served: MiniLM with three heads, and one that can be brought down."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Pieces
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
    """A run whose tokenizer has a word more than its encoder has vectors.

    Whatever text holds POISON brings the computation down, and no other does: torch refuses to
    look up a vector that is not there.
    """
    loaded = load_model(run / MODEL)
    altered = folder / "tokenizer"
    altered.mkdir(parents=True)
    loaded.tokenizer.save(altered)
    pieces = Pieces.from_file(str(altered / "tokenizer.json"))
    pieces.add_tokens([POISON])
    assert pieces.get_vocab_size() > loaded.model.encoder.config.vocab_size
    pieces.save(str(altered / "tokenizer.json"))
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
