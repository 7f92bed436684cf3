"""The other side of training: `transformers.Trainer`, with its defaults or at its strongest."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import transformers
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_pt_utils import get_length_grouped_indices

from benchmarks.fitting import Fit
from trivium.types import Example

Features = list[dict[str, Any]]
"""Tokenised rows, unpadded."""

BATCHES_GROUPED = 50
"""Batches that the option sorts by length together, once there are four times as many."""


def silence() -> None:
    """No progress bars and no notes between the lines of a benchmark."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def tokenize(folder: Path, examples: Sequence[Example]) -> Features:
    """Rows with one text each, as the Trainer takes them."""
    encoded = AutoTokenizer.from_pretrained(folder)(
        [example.texts[0] for example in examples], truncation=True, max_length=512
    )
    return [
        {key: values[row] for key, values in encoded.items()} | {"labels": int(example.target)}
        for row, example in enumerate(examples)
        if isinstance(example.target, float | int)
    ]


def grouped(features: Features, batch_size: int, seed: int) -> Features:
    """The rows in the order of `train_sampling_strategy="group_by_length"`.

    On few rows the option itself would sort fewer batches together, and so pad more, than it does
    on the whole file; this is its own function with the size that it takes there.
    """
    lengths = [len(row["input_ids"]) for row in features]
    return [features[index] for index in grouped_order(lengths, batch_size, seed)]


def grouped_order(lengths: Sequence[int], batch_size: int, seed: int) -> list[int]:
    """Places of rows, so that those of like length stand in one batch."""
    order: list[int] = get_length_grouped_indices(
        list(lengths),
        batch_size,
        mega_batch_mult=BATCHES_GROUPED,
        generator=torch.Generator().manual_seed(seed),
    )
    return order


@dataclass(frozen=True, slots=True)
class Settings:
    """What differs between two uses of the Trainer."""

    bf16: bool = False
    order: Literal["random", "sequential", "group_by_length"] = "random"
    device: Literal["cpu", "cuda"] = "cpu"
    compiled: bool = False
    """By `torch.compile`."""
    workers: int = 0
    """Processes that make batches beforehand."""


def arguments(fit: Fit, output_dir: str, rows: int, settings: Settings) -> dict[str, Any]:
    """What every Trainer is told: it evaluates nothing, saves nothing and says nothing."""
    steps = fit.epochs * -(-rows // fit.batch_size)
    return {
        "output_dir": output_dir,
        "per_device_train_batch_size": fit.batch_size,
        "per_device_eval_batch_size": fit.batch_size,
        "num_train_epochs": fit.epochs,
        "max_steps": min(fit.steps or steps, steps),
        "learning_rate": fit.lr,
        "weight_decay": fit.weight_decay,
        "lr_scheduler_type": "linear",
        "warmup_steps": fit.warmup,  # below 1: a share of the steps
        "max_grad_norm": fit.clip,
        "seed": fit.seed,
        "bf16": settings.bf16,
        "use_cpu": settings.device == "cpu",
        # Where there is no GPU to copy to, it would only warn.
        "dataloader_pin_memory": settings.device == "cuda",
        "dataloader_num_workers": settings.workers,
        "torch_compile": settings.compiled,
        "eval_strategy": "no",
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def build_trainer(
    folder: Path, fit: Fit, output_dir: str, train: Features, settings: Settings
) -> Any:
    """A Trainer with a fresh model."""
    set_seed(fit.seed)  # the classifier's weights are drawn before the Trainer sets its own seed
    labels = len(fit.data_set.labels)
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=labels, classifier_dropout=fit.dropout, dtype=torch.float32
    )
    told = TrainingArguments(
        **arguments(fit, output_dir, len(train), settings), train_sampling_strategy=settings.order
    )
    # A graph that is compiled anew for each length would never be done.
    multiple = 32 if settings.compiled else None
    tokenizer = AutoTokenizer.from_pretrained(folder)
    collator = DataCollatorWithPadding(tokenizer, pad_to_multiple_of=multiple)
    trainer = Trainer(model, told, data_collator=collator, train_dataset=train)
    trainer.remove_callback(PrinterCallback)
    return trainer


class StepClock(TrainerCallback):  # type: ignore[misc]  # its base has no types
    """Reads the clock before the first step and after the last one."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.began: float | None = None
        self.ended = 0.0

    @property
    def seconds(self) -> float:
        assert self.began is not None, "read after training"
        return self.ended - self.began

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        if self.began is None:
            self.began = self.clock()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.ended = self.clock()


def seconds_of(trainer: Any, steps: int, now: Callable[[], float] = time.perf_counter) -> float:
    """Train, and say how long the steps took, of which there must be so many."""
    clock = StepClock(now)
    trainer.add_callback(clock)
    trainer.train()
    trainer.remove_callback(clock)
    assert trainer.state.global_step == steps, "every row is seen once"
    return clock.seconds


class EpochJudge(TrainerCallback):  # type: ignore[misc]  # its base has no types
    """Accuracy on dev after every epoch."""

    def __init__(self, trainer: Any, dev: Features) -> None:
        self.trainer, self.dev = trainer, dev
        self.accuracies: list[float] = []

    def on_epoch_end(self, *_: Any, **__: Any) -> None:
        answer = self.trainer.predict(self.dev)
        self.accuracies.append(float(np.mean(answer.predictions.argmax(-1) == answer.label_ids)))
