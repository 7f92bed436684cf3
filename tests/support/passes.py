"""Trainings of which it is told how many passes through the encoder they take."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.tables import make_recipe
from trivium.model.encoder import Encoder
from trivium.types import Tokens


def values_without_dropout(tiny: Path, home: Path) -> dict[str, Any]:
    """Of which `same` reads [CLS] alone."""
    made, encoder = make_recipe(tiny, home), home / "encoder"
    shutil.copytree(tiny, encoder)
    config = json.loads((encoder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (encoder / "config.json").write_text(json.dumps(config))
    tasks = made["tasks"]
    tasks["mood"]["head"] = {"kind": "linear", "dropout": 0.0}
    tasks["same"]["head"] = {"kind": "linear", "dropout": 0.0, "pooling": "cls"}
    tasks["near"]["head"] = {"kind": "cosine", "dropout": 0.0}
    # A large eps keeps Adam from blowing rounding up.
    stage = {"optimizer": {"kind": "adamw", "eps": 1e-3}, "steps": 5, "batch_size": 9, "lr": 1e-3}
    return made | {"encoder": str(encoder), "stages": [stage]}


@contextmanager
def passes() -> Iterator[list[int]]:
    """Tokens of every pass through the encoder in training."""
    seen: list[int] = []
    encode = Encoder.encode

    def count(encoder: Encoder, x_ND: Tensor, tokens: Tokens, *args: Any, **how: Any) -> Tensor:
        if torch.is_grad_enabled():
            seen.append(len(tokens.ids_N))
        return encode(encoder, x_ND, tokens, *args, **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Encoder, "encode", count)
        yield seen
