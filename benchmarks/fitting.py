"""Fine-tuning on one of the data sets, as every side of a comparison is told to do it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.inputs import existing
from trivium.recipe import Recipe, parse_recipe


@dataclass(frozen=True, slots=True)
class DataSet:
    """A task and its files."""

    name: str
    """As it is called outside."""
    task: str
    text: str | tuple[str, str]
    """The column of the text, or those of a pair whose texts are encoded apart."""
    label: str
    labels: Mapping[int, str]
    train: str
    dev: str
    batch_size: int
    """Rows per batch, unless something else is asked for."""

    @property
    def is_pairs(self) -> bool:
        return not isinstance(self.text, str)


SST = DataSet(
    name="SST-5",
    task="sentiment",
    text="sentence",
    label="sentiment",
    labels={
        0: "negative",
        1: "somewhat negative",
        2: "neutral",
        3: "somewhat positive",
        4: "positive",
    },
    train="ids-sst-train.csv",
    dev="ids-sst-dev.csv",
    batch_size=32,
)
CFIMDB = DataSet(
    name="CFIMDB",
    task="sentiment",
    text="sentence",
    label="sentiment",
    labels={0: "negative", 1: "positive"},
    train="ids-cfimdb-train.csv",
    dev="ids-cfimdb-dev.csv",
    batch_size=16,
)
QUORA = DataSet(
    name="Quora's question pairs",
    task="paraphrase",
    text=("sentence1", "sentence2"),
    label="is_duplicate",
    labels={0: "different", 1: "paraphrase"},
    train="quora-train.csv",
    dev="quora-dev.csv",
    batch_size=32,
)


@dataclass(frozen=True, slots=True)
class Fit:
    """AdamW (no decay on biases and LayerNorm), linear warm-up, then linearly down to zero."""

    data: Path
    """Folder of the files."""
    data_set: DataSet = SST
    epochs: int = 1
    steps: int | None = None
    """Stop after so many steps, if that is before the last epoch ends."""
    batch_size: int = 32
    seed: int = 0
    lr: float = 5e-5
    """Peak, of encoder and head."""
    weight_decay: float = 0.01
    warmup: float = 0.06
    """Share of the steps."""
    clip: float = 1.0
    """Largest norm of the whole gradient."""
    dropout: float = 0.1
    """Of the head on one text; in the encoder, what its checkpoint says (MiniLM: 0.1 too)."""

    @property
    def head(self) -> dict[str, Any]:
        """The one that the peer has: that of `BertForSequenceClassification` for one text, that of
        `SoftmaxLoss` with all its features for a pair, which has no dropout of its own."""
        if self.data_set.is_pairs:
            features = "uv_diff_product"
            return {"kind": "concat", "pooling": "mean", "features": features, "dropout": 0.0}
        return {"kind": "linear", "pooling": "pooler", "dropout": self.dropout}


def recipe_of(fit: Fit, precision: str, *, device: str = "cpu", encoder: str = "minilm") -> Recipe:
    """The recipe of our side, with the peer's head."""
    chosen = fit.data_set
    for name in (chosen.train, chosen.dev):
        existing(fit.data, name)
    task = {
        "kind": "classification",
        "text": chosen.text if isinstance(chosen.text, str) else list(chosen.text),
        "label": chosen.label,
        "labels": dict(chosen.labels),
        "head": fit.head,
        "train": chosen.train,
        "dev": chosen.dev,
    }
    if chosen.is_pairs:  # a row of their dev file has neither second text nor label
        task |= {"encode": "separate", "bad_rows": "skip"}
    stage = {
        "epochs": fit.epochs,
        "steps": fit.steps,
        "batch_size": fit.batch_size,
        "optimizer": {"kind": "adamw", "weight_decay": fit.weight_decay},
        "lr": fit.lr,
        "schedule": {"kind": "linear", "warmup": fit.warmup},
        "clip": fit.clip,
    }
    return parse_recipe(
        {
            "encoder": encoder,
            "data": str(fit.data),
            "tasks": {chosen.task: task},
            "stages": [stage],
            "seed": fit.seed,
            "precision": precision,
            "device": device,
        }
    )
