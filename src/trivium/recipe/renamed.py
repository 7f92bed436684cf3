"""Settings by the names that they had, or have elsewhere, and where a setting belongs."""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel

from trivium.errors import did_you_mean
from trivium.parts.tasks import Classification, Multilabel, Regression
from trivium.recipe.schema import Recipe
from trivium.recipe.stage import Stage

MEANT: Mapping[str, str] = {
    # earlier versions
    "frozen_encoder": "trains: frozen",
    # what other libraries call it
    "freeze_encoder": "trains: frozen",
    "freeze": "trains: frozen",
    "frozen": "trains: frozen",
    "learning_rate": "lr",
    "num_train_epochs": "epochs",
    "num_epochs": "epochs",
    "n_epochs": "epochs",
    "max_epochs": "epochs",
    "max_steps": "steps",
    "batch": "batch_size",
    "per_device_train_batch_size": "batch_size",
    "train_batch_size": "batch_size",
    "gradient_accumulation_steps": "batches_per_step",
    "accumulate": "batches_per_step",
    "max_grad_norm": "clip",
    "gradient_clip_val": "clip",
    "grad_clip": "clip",
    "clip_norm": "clip",
    "lr_scheduler": "schedule",
    "lr_scheduler_type": "schedule",
    "scheduler": "schedule",
    "warmup": "schedule: {kind: linear, warmup: 0.1}",
    "warmup_ratio": "schedule: {kind: linear, warmup: 0.1}",
    "warmup_steps": "schedule: {kind: linear, warmup: 0.1}",
    "weight_decay": "optimizer: {kind: adamw, weight_decay: 0.01}",
    "eval_steps": "evaluate_every",
    "eval_every": "evaluate_every",
    "save_steps": "checkpoint_every",
    "early_stopping_patience": "patience",
    "early_stopping": "patience",
    "metric_for_best_model": "select",
    "task_weights": "weights",
    "mixed_precision": "precision: bf16",
    "bf16": "precision: bf16",
    "fp16": "precision: bf16",
    "dtype": "precision",
    "random_seed": "seed",
    "random_state": "seed",
    "model": "encoder",
    "model_name": "encoder",
    "model_name_or_path": "encoder",
    "pretrained": "encoder",
    "checkpoint": "encoder",
    "backbone": "encoder",
    "base_model": "encoder",
    "data_dir": "data",
    "adapter": "adapters",
    "lora": "adapters: lora",
    "type": "kind",
    "task_type": "kind",
    "text_column": "text",
    "texts": "text",
    "input": "text",
    "label_column": "label",
    "target": "label",
    "classes": "labels",
    "label_names": "labels",
    "num_labels": "labels",
    "train_file": "train",
    "training": "train",
    "validation": "dev",
    "valid": "dev",
    "val": "dev",
    "eval": "dev",
    "validation_file": "dev",
    "dev_file": "dev",
    "test_file": "test",
    "validation_split": "dev: 0.1",
    "val_split": "dev: 0.1",
    "val_size": "dev: 0.1",
    "dev_share": "dev: 0.1",
    "test_size": "test: 0.1",
    "test_split": "test: 0.1",
    "group_by": "dev: {share: 0.1, by: COLUMN}",
    "stratify": "dev: {share: 0.1, stratify: true}",
    "max_len": "max_length",
    "max_seq_length": "max_length",
    "max_tokens": "max_length",
    "truncation": "cut",
    "loss_weight": "weight",
    "sep": "delimiter",
    "pooling": "head: {kind: linear, pooling: mean}",
    "dropout": "head: {kind: linear, dropout: 0.1}",
}
"""A name that people write -> what they most likely mean, as it is written here."""

HOMES: Sequence[tuple[str, Sequence[type[BaseModel]]]] = (
    ("the recipe itself, beside `tasks` and `stages`", (Recipe,)),
    ("a stage (`stages`)", (Stage,)),
    ("a task (`tasks.NAME`)", (Classification, Multilabel, Regression)),
)


def no_such_setting(key: str | int, fields: Sequence[str]) -> str:
    """What to say of a setting that is none of the `fields` of its place."""
    known = MEANT.get(str(key).lower().replace("-", "_"))
    meant = known or str(key)
    setting = meant.partition(":")[0]
    if setting in fields:
        return f"no such setting; write `{meant}`"
    near = did_you_mean(key, fields)
    if known or not near.startswith("; did you mean"):
        for home, parts in HOMES:
            if any(setting in part.model_fields for part in parts):
                return f"no such setting here; write `{meant}` in {home}"
    return f"no such setting{near}"
