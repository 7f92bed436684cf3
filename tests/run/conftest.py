"""A tiny BERT checkpoint, small tables of three tasks, and a recipe over them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from trivium.model.encoder import Encoder, EncoderConfig
from trivium.model.pretrained import save_encoder

WORDS = [
    "good",
    "bad",
    "fine",
    "awful",
    "red",
    "blue",
    "green",
    "day",
    "night",
    "cat",
    "dog",
    "fish",
    "runs",
    "sleeps",
    "eats",
    "very",
    "not",
]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in Hugging Face format: 2 layers, width 32, a vocabulary of a few words."""
    folder = tmp_path_factory.mktemp("tiny")
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *"abcdefghijklmnopqrstuvwxyz"]
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces))
    torch.manual_seed(0)
    config = EncoderConfig(
        vocab_size=len(pieces),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    encoder = Encoder(config)
    for name, parameter in encoder.named_parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
        elif "LayerNorm.weight" not in name:
            torch.nn.init.zeros_(parameter)
    save_encoder(encoder, folder)
    return folder


def write_table(path: Path, columns: list[str], rows: list[list[object]]) -> None:
    lines = ["\t".join(columns), *("\t".join(map(str, row)) for row in rows)]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def sentence(number: int) -> str:
    """A different sentence for every number below 17 ** 3."""
    return " ".join(WORDS[(number // 17**place + 3 * place) % 17] for place in range(3))


def make_recipe(tiny: Path, folder: Path) -> dict[str, Any]:
    """Three tasks that can be learned: a word decides the mood, the same word makes a pair."""
    data = folder / "data"
    data.mkdir()
    for split, numbers in (("train", range(96)), ("dev", range(96, 128))):
        texts = [sentence(7 * number) for number in numbers]
        moods = ["up" if WORDS.index(t.split()[0]) % 2 else "down" for t in texts]
        rows = [[i, t, m] for i, (t, m) in enumerate(zip(texts, moods, strict=True))]
        write_table(data / f"mood-{split}.tsv", ["id", "text", "mood"], rows)
        others = [sentence(5 * number + 1) for number in numbers]
        pairs = list(zip(texts, others, strict=True))
        same = [int(a.split()[0] == b.split()[0]) for a, b in pairs]
        rows = [[a, b, s] for (a, b), s in zip(pairs, same, strict=True)]
        rows += [[a, a, 1] for a in texts[:16]]
        write_table(data / f"pairs-{split}.tsv", ["first", "second", "same"], rows)
        shared = [len(set(a.split()) & set(b.split())) for a, b in pairs]
        rows = [[a, b, s] for (a, b), s in zip(pairs, shared, strict=True)]
        write_table(data / f"near-{split}.tsv", ["first", "second", "score"], rows)

    def files(name: str) -> dict[str, str]:
        return {"train": f"{name}-train.tsv", "dev": f"{name}-dev.tsv"}

    pair = {"text": ["first", "second"]}
    return {
        "encoder": str(tiny),
        "data": str(data),
        "precision": "fp32",
        "device": "cpu",
        "tasks": {
            "mood": {"kind": "classification", "text": "text", "label": "mood", **files("mood")},
            "same": {
                "kind": "classification", **pair, "label": "same", "encode": "joint",
                "labels": {0: "no", 1: "yes"}, **files("pairs"),
            },
            "near": {
                "kind": "regression", **pair, "label": "score", "range": [0, 3], **files("near"),
            },
        },
        "stages": [{"steps": 12, "batch_size": 8, "lr": 1e-3}],
    }  # fmt: skip


@pytest.fixture
def recipe_values(tiny: Path, tmp_path: Path) -> dict[str, Any]:
    return make_recipe(tiny, tmp_path)


@pytest.fixture
def recipe_file(recipe_values: dict[str, Any], tmp_path: Path) -> Callable[..., Path]:
    """Write the recipe, with changes to its stages' settings, and name the file."""

    def write(**stage: Any) -> Path:
        path = tmp_path / "recipe.yaml"
        values = recipe_values | {"stages": [recipe_values["stages"][0] | stage]}
        path.write_text(yaml.safe_dump(values))
        return path

    return write
