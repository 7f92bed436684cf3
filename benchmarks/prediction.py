"""Prediction speed: Quora questions embedded per second, against three other libraries."""

import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from sentence_transformers import SentenceTransformer
from torch import Tensor

from benchmarks import graphs, measure, peer
from benchmarks.graphs import Embed
from benchmarks.inputs import existing
from trivium.model.pretrained import find_checkpoint
from trivium.recipe import Recipe, parse_recipe
from trivium.run.assembly.device import choose_precision
from trivium.run.assembly.machine import keep_memory
from trivium.run.assembly.model import build
from trivium.run.predictor.torch import TorchPredictor
from trivium.text.tables import open_table
from trivium.types import Row

FILE = "quora-dev.csv"
SAMPLE = 4_000
WARM_UP_TEXTS = 256
TRIED_TEXTS = 1024
"""By which OpenVINO's settings are chosen."""
GRAPHS = ("ort_fp32", "openvino_bf16")
PEERS = ("st", "st_bf16", *GRAPHS)
RATIOS = (
    ("ours_fp32", "st"),
    ("ours_bf16", "st"),
    ("ours_bf16", "st_bf16"),
    ("ours_fp32", "ort_fp32"),
    ("ours_bf16", "ort_fp32"),
    ("ours_bf16", "openvino_bf16"),
    ("ours_fp32", "openvino_bf16"),
)
OURS = f"ours_{measure.LOW}"


@dataclass
class Sides:
    """All that is compared, or why it is not."""

    embeds: dict[str, Embed] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    openvino: dict[str, Any] = field(default_factory=dict)
    """The setting that was found best, and what it was chosen from."""


def main() -> None:
    parser = measure.options(__doc__)
    help_texts = f"how many, drawn from the file, or all (default {SAMPLE:,})"
    parser.add_argument("--texts", type=_number_of_texts, default=SAMPLE, help=help_texts)
    parser.add_argument("--repetitions", type=measure.positive, default=3)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    peer.silence()
    say = measure.teller(given)
    texts = _texts(existing(given.data, FILE), given.texts)
    distinct = len(set(texts))
    say(f"{len(texts):,} texts of {FILE}, {distinct:,} distinct; {given.threads} threads")
    sides = _sides(find_checkpoint("minilm"), given.threads, texts[:TRIED_TEXTS])
    for name, reason in sides.skipped.items():
        say(f"{name} is left out: {reason}")
    vectors: dict[str, Tensor] = {}
    for name, embed in sides.embeds.items():
        # OpenVINO compiles kernels for every shape of a batch that it has not seen.
        embed(texts if name in GRAPHS else texts[:WARM_UP_TEXTS])
    rates = {name: partial(_rate, name, texts, e, vectors) for name, e in sides.embeds.items()}
    found = measure.Rates("texts_per_s", measure.in_turn(rates, given.repetitions, say))
    drifts = {name: _drift(vectors[name], vectors["st"]) for name in rates if name != "st"}
    say(found.table([name for name in PEERS if name in rates]))
    for name, (most, mean) in drifts.items():
        say(f"{name}: 1 - cos against st: max {most:.1e}, mean {mean:.1e}")
    measure.last_line(
        {
            **{
                f"{of}_over_{over}": found.ratio(of, over)
                for of, over in RATIOS
                if {of, over} <= set(rates)
            },
            **found.values(),
            "drift_max": drifts[OURS][0],
            "drift_mean": drifts[OURS][1],
            "drifts": drifts,
            "skipped": sides.skipped,
            "openvino": sides.openvino,
            "texts": len(texts),
            "distinct_texts": distinct,
            "repetitions": given.repetitions,
            **measure.machine(),
        }
    )


def _number_of_texts(text: str) -> int | None:
    return None if text == "all" else measure.positive(text)


def _texts(path: Path, number: int | None) -> list[str]:
    """Both columns, row by row; a sample keeps the file's order. Empty cells are left out."""
    rows = [row for row in open_table(path) if isinstance(row, Row)]
    texts = [row.cells[column] for row in rows for column in ("sentence1", "sentence2")]
    texts = [text for text in texts if text.strip()]
    if number is None or number >= len(texts):
        return texts
    return [texts[i] for i in sorted(random.Random(0).sample(range(len(texts)), number))]


# --- the sides ---------------------------------------------------------------------------------


def _sides(folder: Path, threads: int, texts: Sequence[str]) -> Sides:
    """texts: to choose settings by."""
    sides = Sides({"ours_fp32": _ours("fp32"), "st": _theirs(folder, {})})
    if measure.LOW == "bf16":
        sides.embeds["ours_bf16"] = _ours("bf16")
        sides.embeds["st_bf16"] = _theirs(folder, {"dtype": torch.bfloat16})
    reasons = {
        "ort_fp32": graphs.needs("onnxruntime"),
        "openvino_bf16": graphs.needs("openvino"),
    }
    sides.skipped |= {name: reason for name, reason in reasons.items() if reason}
    if len(sides.skipped) == len(reasons):
        return sides
    with tempfile.TemporaryDirectory() as home:
        path = Path(home) / "encoder.onnx"
        graphs.write_graph(build(_recipe())[0], path)
        if not reasons["ort_fp32"]:
            sides.embeds["ort_fp32"] = graphs.onnxruntime_fp32(path, folder, threads)
        if not reasons["openvino_bf16"]:
            best = graphs.openvino_bf16(path, folder, threads, texts)
            sides.embeds["openvino_bf16"] = best.embed
            sides.openvino = {
                "setting": best.setting,
                "precision": best.precision,
                "tried_texts_per_s": best.tried,
            }
    return sides


def _recipe() -> Recipe:
    task = {"kind": "regression", "text": "text", "label": "label", "range": [0, 1]}
    return parse_recipe({"tasks": {"unused": task}, "device": "cpu"})


def _ours(precision: str) -> Embed:
    recipe = _recipe()
    keep_memory()  # as `trivium.load` does; it holds for the peers as well
    model, tokenizer = build(recipe)
    model.encoder.precision = choose_precision(precision, torch.device("cpu"))
    return TorchPredictor(model, recipe.tasks, tokenizer).pooled


def _theirs(folder: Path, model_kwargs: dict[str, Any]) -> Embed:
    model = SentenceTransformer(str(folder), device="cpu", model_kwargs=model_kwargs)

    def embed(texts: Sequence[str]) -> Tensor:
        return torch.from_numpy(model.encode(list(texts), show_progress_bar=False))

    return embed


# --- figures -----------------------------------------------------------------------------------


def _rate(name: str, texts: Sequence[str], embed: Embed, vectors: dict[str, Tensor]) -> float:
    """Texts per second; the vectors are kept under the variant's name."""
    began = time.perf_counter()
    vectors[name] = embed(texts)
    return len(texts) / (time.perf_counter() - began)


def _drift(vector_BD: Tensor, reference_BD: Tensor) -> tuple[float, float]:
    """Largest and mean 1 - cosine; neither side need be normalised."""
    cosine_B = F.cosine_similarity(vector_BD.double(), reference_BD.double())
    distance_B = 1.0 - cosine_B
    return float(f"{distance_B.max():.3g}"), float(f"{distance_B.mean():.3g}")


if __name__ == "__main__":
    main()
