"""Stage: one stretch of training, and what it may say."""

from collections.abc import Collection, Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from trivium.part import Part
from trivium.parts.averaging import Averaging
from trivium.parts.combiners import Combiner, Sum
from trivium.parts.optim import AdamW, LearningRates, Linear, Optimizer, Schedule
from trivium.parts.regularizers import AnyRegularizer
from trivium.parts.samplers import Proportional, Sampler
from trivium.parts.trainable import Full, Trainable

SELECTIONS = ("overall", "any", "last")
"""What `select` can say beside a task's name."""
DEFAULT_EPOCHS = 3
"""Of a stage that says neither epochs nor steps."""


class Floor(Part):
    """What a guarded task's dev metric must keep; give one of the two."""

    share: float | None = Field(default=None, gt=0, le=1)
    """Of its value when the stage began, or when the stage that `guard_from` names ended."""
    absolute: float | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> "Floor":
        if (self.share is None) == (self.absolute is None):
            raise ValueError("give either `share` (of the earlier score) or `absolute`")
        return self

    def value(self, before: float) -> float:
        """The lowest score allowed. A share of a negative score is that score itself: no drop."""
        if self.absolute is not None:
            return self.absolute
        assert self.share is not None
        return self.share * before if before > 0 else before


class Stage(Part):
    """One stretch of training; it starts from the best checkpoint of the one before.

    One more, before those of a recipe:

        recipe = trivium.load_recipe("recipes/quickstart.yaml")
        heads_first = trivium.Stage(name="heads", steps=2, trains="frozen", lr=1e-3)
        recipe = recipe.model_copy(update={"stages": (heads_first, *recipe.stages)})
    """

    name: str = Field(default="train", pattern=r"^[\w.-]+$")
    tasks: tuple[str, ...] = ()
    """By default all."""
    epochs: int | None = Field(default=None, gt=0, le=10**6)
    """An epoch holds as many batches as one pass over every task's rows; by default 3 epochs."""
    steps: int | None = Field(default=None, ge=0, le=10**9)
    """Optimizer steps, instead of epochs; with both, the stage ends at whichever comes first. 0:
    nothing is trained, and heads stay what they start from."""
    batch_size: int | dict[str, int] = 32
    """Rows per batch: one number, or one per task."""
    batches: Literal["fixed", "adjusted"] = "fixed"
    """adjusted: `batch_size` is that of the task with the most rows (after caps), and the others'
    are smaller in proportion to their rows, so that all end an epoch together."""
    batches_per_step: int = Field(default=1, gt=0)
    """Draws of the sampler whose gradients make one optimizer step (gradient accumulation). On a
    CPU, batches of a step that have nothing in the encoder of their own (no sides, no penalties, no
    surgery) go through it in one pass, as far as `tokens_at_once` holds them: the same gradient up
    to rounding, under other masks of dropout."""
    tokens_at_once: int | None = Field(default=None, gt=0)
    """A batch with more tokens goes through the model in pieces of texts of like length, which
    bounds memory and changes no gradient (but that of the noise of dropout); by default 4,096 on a
    CPU and 32,768 on a GPU. A loss that compares rows, `cosent` or `mnrl`, keeps its batch
    whole."""
    rows_per_epoch: dict[str, int] = Field(default_factory=dict)
    """Caps: rows that an epoch shows of a task; the next epoch goes on where it ended."""
    reference: str | None = None
    """A task by which larger ones are held back: an epoch holds all its batches, and of a task t
    with more rows floor(batches_ref * N_ref / N_t) batches."""
    weights: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """Loss weight per task in this stage; by default the task's own `weight`."""
    sampler: Sampler = Proportional()
    combiner: Combiner = Sum()
    regularizers: tuple[AnyRegularizer, ...] = ()
    """Penalties added to the loss."""
    trains: Trainable = Full()
    """Which of the encoder's own parameters learn; heads and adapters always do."""
    optimizer: Optimizer = AdamW()
    lr: LearningRates = LearningRates()
    schedule: Schedule = Linear(warmup=0.06)
    average: Averaging | None = None
    """An average of the trained weights over steps, `ema` or `swa`, which is judged and kept in
    their place."""
    clip: float | None = Field(default=1.0, gt=0)
    """Largest norm of a step's whole gradient."""
    evaluate_every: int | None = Field(default=None, gt=0)
    """Steps between evaluations on dev; by default once an epoch."""
    select: str | None = None
    """What the kept model is best at: `overall` (the default), a task's name, `any` (kept whenever
    any task reaches a new best), or `last` (every evaluation's model; the default of a guarded
    stage). Where heads start from a linear probe, or the recipe says `fallback`, the model before
    the first step counts, too."""
    guard: float | dict[str, Floor] | None = None
    """Floors under the dev metrics: one share of the earlier scores for every task that the stage
    is judged by, or a floor per task (a number is a share; `{absolute: 0.5}`). The stage ends with
    the first evaluation that breaks one, and the last model that kept them all stands."""
    guard_from: str | None = None
    """The earlier stage whose final scores the guard's shares are of; by default the one before.
    With it several stages in a row cannot fall further than each may alone."""
    conflicts_every: int | None = Field(default=None, gt=0)
    """Steps between measurements of the cosines between the tasks' encoder gradients, as a whole
    and by layer, which go to the journal; wants several tasks in a step. By default 10 where the
    combiner keeps the gradients apart anyway."""
    patience: int | None = Field(default=None, gt=0)
    """Evaluations without a new best after which the stage ends."""
    checkpoint_every: int | None = Field(default=None, gt=0)
    """Steps between resume files, besides one every two minutes."""

    @field_validator(
        "sampler", "combiner", "optimizer", "schedule", "trains", "average", mode="before"
    )
    @classmethod
    def _plain_word(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    @field_validator("regularizers", mode="before")
    @classmethod
    def _plain_words(cls, value: Any) -> Any:
        return plain_parts(value)

    @field_validator("guard", mode="before")
    @classmethod
    def _plain_shares(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {
            task: {"share": floor} if isinstance(floor, int | float) else floor
            for task, floor in value.items()
        }

    @field_validator("lr", mode="before")
    @classmethod
    def _one_rate(cls, value: Any) -> Any:
        return {"encoder": value, "heads": value} if isinstance(value, int | float) else value

    @field_validator("guard")
    @classmethod
    def _a_share(cls, value: Any) -> Any:
        if isinstance(value, float) and not 0 < value <= 1:
            raise ValueError(f"a share of the earlier scores is above 0 and at most 1, not {value}")
        return value

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

    @model_validator(mode="after")
    def _one_size_to_adjust(self) -> "Stage":
        if self.batches == "adjusted" and isinstance(self.batch_size, dict):
            raise ValueError(
                "batches: adjusted makes the tasks' sizes from one `batch_size`, found one per task"
            )
        return self

    @model_validator(mode="after")
    def _each_regularizer_once(self) -> "Stage":
        kinds = [part.kind for part in self.regularizers]
        for kind in kinds:
            if kinds.count(kind) > 1:
                raise ValueError(
                    f"regularizers: {kind} stands twice; give it once, with `weight` by task"
                )
        return self

    def idle(self, tasks: Collection[str], trained: Collection[str]) -> Iterator[str]:
        """Settings of tasks that the stage does not train, for people. tasks: all of the recipe."""
        for field, held in (
            ("batch_size", self.batch_size),
            ("rows_per_epoch", self.rows_per_epoch),
            ("weights", self.weights),
            ("lr.heads", self.lr.heads),
        ):
            for name in held if isinstance(held, dict) else ():
                if name in tasks and name not in trained:
                    yield (
                        f"{field}.{name} does nothing, since this stage does not train {name}: its "
                        f"`tasks` are {', '.join(trained)}"
                    )

    @property
    def selects_by(self) -> str:
        """`select`, or what it is when the recipe does not say."""
        return self.select or ("last" if self.guard is not None else "overall")

    def floor(self, task: str) -> Floor | None:
        """What the guard demands of a task."""
        if self.guard is None or isinstance(self.guard, dict):
            return (self.guard or {}).get(task)
        return Floor(share=self.guard)

    def size(self, task: str) -> int:
        """Rows per batch of a task, before they are adjusted."""
        return (
            self.batch_size.get(task, 32) if isinstance(self.batch_size, dict) else self.batch_size
        )


def plain_parts(value: Any) -> Any:
    """A list of parts in which a plain word stands for a part without settings; or one part."""
    if isinstance(value, str | dict):
        value = [value]
    if not isinstance(value, list | tuple):
        return value
    return [{"kind": part} if isinstance(part, str) else part for part in value]
