"""Small tables of three tasks that can be learned, and a recipe over them."""

from pathlib import Path
from typing import Any

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
