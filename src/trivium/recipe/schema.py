"""The recipe: the whole of a run, as data."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from trivium.errors import did_you_mean
from trivium.part import Part
from trivium.parts.combiners import Combiner, Sum
from trivium.parts.optim import AdamW, LearningRates, Linear, Optimizer, Schedule
from trivium.parts.samplers import Proportional, Sampler
from trivium.parts.tasks import AnyTask


class Stage(Part):
    """One stretch of training; it starts from the best checkpoint of the one before."""

    name: str = Field(default="train", pattern=r"^[\w.-]+$")
    tasks: tuple[str, ...] = ()
    """By default all."""
    epochs: int | None = Field(default=None, gt=0)
    """An epoch holds as many batches as one pass over every task's rows; by default 3 epochs."""
    steps: int | None = Field(default=None, gt=0)
    """Optimizer steps, instead of epochs; with both, the stage ends at whichever comes first."""
    batch_size: int | dict[str, int] = 32
    """Rows per batch: one number, or one per task."""
    batches_per_step: int = Field(default=1, gt=0)
    """Draws of the sampler whose gradients make one optimizer step (gradient accumulation)."""
    rows_per_epoch: dict[str, int] = Field(default_factory=dict)
    """Caps: rows that an epoch shows of a task; the next epoch goes on where it ended."""
    weights: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """Loss weight per task in this stage; by default the task's own `weight`."""
    sampler: Sampler = Proportional()
    combiner: Combiner = Sum()
    optimizer: Optimizer = AdamW()
    lr: LearningRates = LearningRates()
    schedule: Schedule = Linear(warmup=0.06)
    clip: float | None = Field(default=1.0, gt=0)
    """Largest norm of a step's whole gradient."""
    frozen_encoder: bool = False
    """Train the heads only; the encoder then runs without dropout and without gradients."""
    evaluate_every: int | None = Field(default=None, gt=0)
    """Steps between evaluations on dev; by default once an epoch."""
    select: str = "overall"
    """What the kept model is best at: `overall`, a task's name, or `any` (kept whenever any task
    reaches a new best)."""
    conflicts_every: int | None = Field(default=None, gt=0)
    """Steps between measurements of the cosines between the tasks' encoder gradients, which go to
    the journal; wants a sampler that draws several tasks a step."""
    patience: int | None = Field(default=None, gt=0)
    """Evaluations without a new best after which the stage ends."""
    checkpoint_every: int | None = Field(default=None, gt=0)
    """Steps between resume files, besides one every two minutes."""

    @field_validator("sampler", "combiner", "optimizer", "schedule", mode="before")
    @classmethod
    def _plain_word(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    @field_validator("lr", mode="before")
    @classmethod
    def _one_rate(cls, value: Any) -> Any:
        return {"encoder": value, "heads": value} if isinstance(value, int | float) else value

    @field_validator("batch_size")
    @classmethod
    def _positive(cls, value: int | dict[str, int]) -> int | dict[str, int]:
        sizes = value.values() if isinstance(value, dict) else [value]
        if any(size < 1 for size in sizes):
            raise ValueError("must be at least 1")
        return value

    @model_validator(mode="after")
    def _caps_are_positive(self) -> "Stage":
        if any(rows < 1 for rows in self.rows_per_epoch.values()):
            raise ValueError("rows_per_epoch: must be at least 1")
        return self

    def size(self, task: str) -> int:
        """Rows per batch of a task."""
        return (
            self.batch_size.get(task, 32) if isinstance(self.batch_size, dict) else self.batch_size
        )


class Recipe(Part):
    encoder: str = "minilm"
    """minilm (packaged), a folder, or a hub name of a BERT checkpoint."""
    data: str = "."
    """Folder where the tasks' files are; a relative one starts at the recipe's own folder, or
    else at the working directory."""
    tasks: dict[str, AnyTask] = Field(min_length=1)
    stages: tuple[Stage, ...] = Field(default=(Stage(),), min_length=1)
    seed: int = Field(default=0, ge=0, lt=2**32)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 where the device computes in it, with fp32 master weights; else fp32."""
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    """auto: a CUDA device if there is one."""

    @model_validator(mode="before")
    @classmethod
    def _tasks_know_their_names(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not isinstance(values.get("tasks"), dict):
            return values
        tasks = {}
        for key, task in values["tasks"].items():
            if not (isinstance(key, str) and re.fullmatch(r"[A-Za-z_][\w-]*", key)):
                raise ValueError(
                    f"tasks: {key!r} is no name for a task; use letters, digits, _ and -"
                )
            if key in ("overall", "any"):
                raise ValueError(f"tasks: {key!r} has a meaning of its own in `select`; rename it")
            if isinstance(task, dict):
                if task.get("name", key) != key:
                    raise ValueError(f"tasks.{key}.name: a task's name is its key, {key!r}")
                task = task | {"name": key}
            tasks[key] = task
        return values | {"tasks": tasks}

    @model_validator(mode="after")
    def _stages_name_known_tasks(self) -> "Recipe":
        for index, stage in enumerate(self.stages):
            sized = stage.batch_size if isinstance(stage.batch_size, dict) else {}
            if len(set(stage.tasks)) < len(stage.tasks):
                raise ValueError(f"stages.{index}.tasks: names a task twice")
            for field, names in (
                ("tasks", stage.tasks),
                ("batch_size", sized),
                ("rows_per_epoch", stage.rows_per_epoch),
                ("weights", stage.weights),
                ("select", [stage.select] if stage.select not in ("overall", "any") else []),
            ):
                for name in names:
                    if name not in self.tasks:
                        hint = did_you_mean(name, self.tasks)
                        raise ValueError(f"stages.{index}.{field}: no task {name!r}{hint}")
        if len({stage.name for stage in self.stages}) < len(self.stages):
            raise ValueError("stages: every stage needs a name of its own")
        return self

    def stage_tasks(self, stage: Stage) -> list[str]:
        return list(stage.tasks or self.tasks)
