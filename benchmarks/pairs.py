"""The other side of training on pairs: sentence-transformers' trainer, plain or at its strongest.

Its model is the encoder and a mean over the tokens, its head `SoftmaxLoss` with all of its features
[u; v; |u-v|; u*v], which is what our `concat` head has. It encodes the two columns apart, in a
forward pass each, padded to the longest text of that column.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from sentence_transformers import (
    DefaultBatchSampler,
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import SoftmaxLoss
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from torch.utils.data import SequentialSampler
from transformers import AutoTokenizer, PrinterCallback, set_seed

from benchmarks import peer
from benchmarks.fitting import Fit
from trivium.types import Example

LONGEST = 512
"""Tokens of a text: all that the encoder reads."""

Lengths = Sequence[tuple[int, int]]
"""Of the two texts of each row, in tokens."""


def lengths(folder: Path, examples: Sequence[Example]) -> list[tuple[int, int]]:
    """Special tokens counted, padding not."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    columns = []
    for column in range(2):
        texts = [example.texts[column] for example in examples]
        ids = tokenizer(texts, truncation=True, max_length=LONGEST)["input_ids"]
        columns.append([len(row) for row in ids])
    return list(zip(*columns, strict=True))


def places(found: Lengths, order: Sequence[int], batch_size: int) -> int:
    """Of the padded grids of all batches, padding included."""
    total = 0
    for begin in range(0, len(order), batch_size):
        batch = [found[row] for row in order[begin : begin + batch_size]]
        total += len(batch) * sum(max(column) for column in zip(*batch, strict=True))
    return total


def grouped(found: Lengths, batch_size: int, seed: int) -> list[int]:
    """The rows in batches of like length, as the Trainer of transformers groups them.

    By the longer text of a pair or by both together: whichever pads less.
    """
    keys: tuple[Callable[[tuple[int, int]], int], ...] = (max, sum)
    orders = [peer.grouped_order([key(row) for row in found], batch_size, seed) for key in keys]
    return min(orders, key=lambda order: places(found, order, batch_size))


@dataclass
class Preparing:
    """Its collator's tokenising and padding, with a clock: it stands inside of the steps."""

    prepare: Callable[..., Any]
    seconds: float = 0.0

    def __call__(self, *given: Any, **named: Any) -> Any:
        began = time.perf_counter()
        made = self.prepare(*given, **named)
        self.seconds += time.perf_counter() - began
        return made


def build_trainer(
    folder: Path, fit: Fit, output_dir: str, examples: Sequence[Example], settings: peer.Settings
) -> tuple[Any, Preparing]:
    """A trainer with a fresh model, which takes the rows in their order if that is `sequential`."""
    set_seed(fit.seed)
    encoder = Transformer(str(folder), max_seq_length=LONGEST)
    modules = [encoder, Pooling(encoder.get_embedding_dimension(), "mean")]
    model = SentenceTransformer(modules=modules, device="cpu")
    loss = SoftmaxLoss(
        model,
        model.get_embedding_dimension(),
        num_labels=len(fit.data_set.labels),
        concatenation_sent_multiplication=True,
    )
    told = peer.arguments(fit, output_dir, len(examples), settings)
    if settings.order == "sequential":
        told["batch_sampler"] = _in_order
    trainer = SentenceTransformerTrainer(
        model, SentenceTransformerTrainingArguments(**told), _rows(examples), loss=loss
    )
    trainer.remove_callback(PrinterCallback)
    preparing = Preparing(trainer.data_collator.preprocess_fn)
    trainer.data_collator.preprocess_fn = preparing
    return trainer, preparing


def _in_order(rows: Dataset, **told: Any) -> DefaultBatchSampler:
    return DefaultBatchSampler(SequentialSampler(rows), **told)


def _rows(examples: Sequence[Example]) -> Dataset:
    first, second = zip(*(example.texts for example in examples), strict=True)
    labels = torch.tensor([example.target for example in examples], dtype=torch.long).tolist()
    return Dataset.from_dict({"sentence1": list(first), "sentence2": list(second), "label": labels})
