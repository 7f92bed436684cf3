"""Fine-tuning on SST-5, as every side of a comparison is told to do it."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.inputs import existing
from trivium.recipe import Recipe, parse_recipe

TASK = "sentiment"
LABELS = {
    0: "negative",
    1: "somewhat negative",
    2: "neutral",
    3: "somewhat positive",
    4: "positive",
}
TRAIN = "ids-sst-train.csv"
DEV = "ids-sst-dev.csv"


@dataclass(frozen=True, slots=True)
class Fit:
    """AdamW (no decay on biases and LayerNorm), linear warm-up, then linearly down to zero."""

    data: Path
    """Folder of the files."""
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
    """Of the head; in the encoder, what its checkpoint says (MiniLM: 0.1 too)."""


def recipe_of(fit: Fit, precision: str) -> Recipe:
    """The recipe of our side, with the head that `BertForSequenceClassification` has."""
    for name in (TRAIN, DEV):
        existing(fit.data, name)
    task = {
        "kind": "classification",
        "text": "sentence",
        "label": "sentiment",
        "labels": LABELS,
        "head": {"kind": "linear", "pooling": "pooler", "dropout": fit.dropout},
        "train": TRAIN,
        "dev": DEV,
    }
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
            "encoder": "minilm",
            "data": str(fit.data),
            "tasks": {TASK: task},
            "stages": [stage],
            "seed": fit.seed,
            "precision": precision,
            "device": "cpu",
        }
    )
