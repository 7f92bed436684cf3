"""The encoder as one graph, in OpenVINO and in ONNX Runtime: two more peers of prediction.

Both get what is known to suit them: all texts tokenised in one call, sorted by length, in batches
of 32 padded to their longest, and as many threads as everybody else. The graph is the one that
`trivium export` writes, with the mean over a text's tokens as its only output.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoTokenizer

from trivium.model.multitask import MultiTaskModel
from trivium.run.exporting.graph import EMBEDDING, TEXTS, Graph, names_of
from trivium.run.exporting.onnx_file import write_onnx
from trivium.run.predictor.telemetry import without_telemetry

BATCH = 32
TRIES = 2
"""Times that each of OpenVINO's settings is tried, of which the faster counts."""

Embed = Callable[[Sequence[str]], Tensor]
"""Texts to vectors, in order."""
Run = Callable[[Iterator["Batch"], NDArray[np.float32]], None]
"""Answers batches into the rows of all texts' vectors."""


@dataclass(frozen=True, slots=True)
class Batch:
    rows: NDArray[np.int64]
    """Which of the texts."""
    feeds: Mapping[str, NDArray[np.int64]]
    """By input of the graph: [R, L]."""


def needs(*packages: str) -> str:
    """Why a peer must be left out; empty if nothing is missing."""
    for name in ("onnx_ir", "onnxscript", *packages):
        try:
            with without_telemetry():
                import_module(name)
        except ImportError as error:
            return f"{name} is not installed ({error})"
    return ""


def write_graph(model: MultiTaskModel, path: Path) -> None:
    """The encoder alone, in fp32; texts of any number and length."""
    limit = model.encoder.config.max_position_embeddings
    write_onnx(Graph(model, {}), names_of({}), limit, path)


# --- ONNX Runtime ------------------------------------------------------------------------------


def onnxruntime_fp32(path: Path, checkpoint: Path, threads: int) -> Embed:
    """Its threads spin while they wait, as it does by default."""
    import onnxruntime  # one of two optional packages

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(batches: Iterator[Batch], vector_BD: NDArray[np.float32]) -> None:
        for batch in batches:
            (vector_BD[batch.rows],) = session.run([EMBEDDING], dict(batch.feeds))

    return _embedder(checkpoint, session.get_outputs()[0].shape[1], run)


# --- OpenVINO ----------------------------------------------------------------------------------

SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "latency": {"PERFORMANCE_HINT": "LATENCY"},
    "throughput": {"PERFORMANCE_HINT": "THROUGHPUT"},
    "one stream": {"NUM_STREAMS": "1"},
    "two streams": {"NUM_STREAMS": "2"},
}


@dataclass(frozen=True, slots=True)
class Openvino:
    """OpenVINO at its best, and how that was found."""

    embed: Embed
    setting: str
    precision: str
    """What it computes in, as it says itself: bf16 only where the processor has it."""
    tried: Mapping[str, float]
    """Texts per second of each setting."""


def openvino_bf16(path: Path, checkpoint: Path, threads: int, texts: Sequence[str]) -> Openvino:
    """texts: to try its settings with."""
    with without_telemetry():
        import openvino  # the other one

    core = openvino.Core()
    model = core.read_model(str(path))
    told = {"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": threads}
    compiled = {
        name: core.compile_model(model, "CPU", {**told, **more}) for name, more in SETTINGS.items()
    }
    embeds = {name: _in_openvino(one, checkpoint) for name, one in compiled.items()}
    tried = {name: _texts_per_s(embed, texts) for name, embed in embeds.items()}
    best = max(tried, key=tried.__getitem__)
    found = compiled[best].get_property("INFERENCE_PRECISION_HINT")
    precision = {"bfloat16": "bf16", "float": "fp32"}.get(_type_name(found), _type_name(found))
    return Openvino(embeds[best], best, precision, {n: round(r, 1) for n, r in tried.items()})


def _in_openvino(compiled: Any, checkpoint: Path) -> Embed:
    width = compiled.output(0).get_partial_shape()[1].get_length()
    return _embedder(checkpoint, width, openvino_run(compiled))


def openvino_run(compiled: Any) -> Run:
    """As many requests at once as it finds best for its streams.

    None of its threads is given a function of ours to call when a request is done. It drops that
    function later, with Python's lock; if somebody drops the compiled model meanwhile, who has the
    lock and waits for its threads to end, neither goes on. On a busy machine that does happen.
    """

    def run(batches: Iterator[Batch], vector_BD: NDArray[np.float32]) -> None:
        most = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        free = [compiled.create_infer_request() for _ in range(most)]
        asked: deque[tuple[Any, NDArray[np.int64]]] = deque()

        def take() -> None:
            request, rows = asked.popleft()
            request.wait()
            vector_BD[rows] = request.get_output_tensor(0).data
            free.append(request)

        for batch in batches:
            if not free:
                take()
            request = free.pop()
            request.start_async(dict(batch.feeds))
            asked.append((request, batch.rows))
        while asked:
            take()

    return run


def _type_name(found: Any) -> str:
    return str(found.to_string() if hasattr(found, "to_string") else found)


def _texts_per_s(embed: Embed, texts: Sequence[str]) -> float:
    embed(texts)
    found = []
    for _ in range(TRIES):
        began = time.perf_counter()
        embed(texts)
        found.append(len(texts) / (time.perf_counter() - began))
    return max(found)


# --- texts to batches --------------------------------------------------------------------------


def _embedder(checkpoint: Path, width: int, run: Run) -> Embed:
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)

    def embed(texts: Sequence[str]) -> Tensor:
        vector_BD = np.empty((len(texts), width), dtype=np.float32)
        run(_batches(tokenizer, texts), vector_BD)
        return torch.from_numpy(vector_BD)

    return embed


def _batches(tokenizer: Any, texts: Sequence[str]) -> Iterator[Batch]:
    """Texts of like length together, the longest first."""
    ids = tokenizer(list(texts), truncation=True, max_length=512)["input_ids"]
    length_B = np.array([len(row) for row in ids])
    order_B = np.argsort(-length_B, kind="stable")
    for begin in range(0, len(ids), BATCH):
        rows = order_B[begin : begin + BATCH]
        mask_RL = np.arange(length_B[rows].max()) < length_B[rows][:, None]
        ids_RL = np.full(mask_RL.shape, tokenizer.pad_token_id, dtype=np.int64)
        ids_RL[mask_RL] = np.concatenate([ids[row] for row in rows])
        grids = (ids_RL, mask_RL.astype(np.int64), np.zeros_like(ids_RL))
        yield Batch(rows, dict(zip(TEXTS, grids, strict=True)))
