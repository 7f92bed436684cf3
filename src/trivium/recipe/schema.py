"""The recipe: the whole of a run, as data."""

import difflib
import re
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from trivium.errors import did_you_mean
from trivium.part import Part
from trivium.parts.adapters import AnyAdapter
from trivium.parts.heads import check_trunks
from trivium.parts.tasks import AnyTask, Labelled
from trivium.recipe.stage import SELECTIONS, Stage, plain_parts

FILE_ONLY = ("search", "reported", "budgets", "preset")
"""What a recipe's file may say beside the recipe (`trivium.recipe.file`). No run knows of it."""


class Recipe(Part):
    """A run: what is trained on what, and how. What a file says beside it is not here.

    Nothing in it can be changed; a copy may differ:

        recipe = trivium.load_recipe("recipes/quickstart.yaml")
        again = recipe.model_copy(update={"seed": 1})
        trivium.train(again, "runs/again")
    """

    encoder: str = "minilm"
    """minilm (packaged), a folder, or a hub name of a BERT checkpoint."""
    start: str | None = None
    """A finished run, or a model's folder, whose model the first stage starts from: the encoder,
    adapters, and the heads of tasks that both have alike. `{seed}` in it stands for this recipe's
    seed. In a study also the file of another of its recipes: of each seed the run of that one."""
    data: str = "."
    """Folder where the tasks' files are; a relative one starts at the recipe's own folder, or
    else at the working directory."""
    tasks: dict[str, AnyTask] = Field(min_length=1)
    adapters: tuple[AnyAdapter, ...] = ()
    """What is added to the encoder: they belong to the model, so all stages have them."""
    stages: tuple[Stage, ...] = Field(default=(Stage(),), min_length=1)
    seed: int = Field(default=0, ge=0, lt=2**32)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 where the device computes in it, with fp32 master weights; else fp32."""
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    """auto: a CUDA device if there is one."""
    allreduce: Literal["fp32", "bf16"] = "fp32"
    """In what gradients travel between several processes and are summed up. bf16 halves what is
    sent, and rounds: the update is then that of one process to three digits, not to six."""
    train_rows: int | None = Field(default=None, gt=0)
    """At most so many training rows of each task, always the same ones, are scored as well at every
    evaluation: beside the scores on dev they show overfitting. Nothing is chosen by them. By
    default none are, since it takes its time."""
    probe: bool = True
    """Whether the usual answer and a linear probe are judged before training, to compare with."""
    fallback: Literal["probe", "start"] | None = None
    """What is judged before the first step, and kept by what the first stage selects. probe: linear
    heads that are fitted to the encoder as it is, where no later model is as good. start: the model
    that `start` names, where none is better. Steps are those of a recipe that does not ask."""

    @field_validator("adapters", mode="before")
    @classmethod
    def _plain_words(cls, value: Any) -> Any:
        return plain_parts(value)

    @model_validator(mode="before")
    @classmethod
    def _is_no_file(cls, values: Any) -> Any:
        # A subclass may have them, to read all of a file at once (`trivium.recipe.parse`).
        given = values if isinstance(values, dict) else {}
        for name in FILE_ONLY:
            if name in given and name not in cls.model_fields:
                raise ValueError(
                    f"{name}: is no setting of a run; `search`, `reported`, `budgets` and `preset` "
                    "belong into the file of a recipe (or a dictionary in its place), beside the "
                    "recipe"
                )
        return values

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
            if key in SELECTIONS:
                raise ValueError(f"tasks: {key!r} has a meaning of its own in `select`; rename it")
            if isinstance(task, dict):
                if task.get("name", key) != key:
                    raise ValueError(f"tasks.{key}.name: a task's name is its key, {key!r}")
                if "kind" not in task and (near := _meant(key, values["tasks"])):
                    raise ValueError(
                        f"tasks.{key}: there is no such task; did you mean {near!r}? One more task "
                        "would say its `kind`"
                    )
                task = task | {"name": key}
            tasks[key] = task
        return values | {"tasks": tasks}

    @model_validator(mode="after")
    def _stages_name_known_tasks(self) -> "Recipe":
        for index, stage in enumerate(self.stages):  # noqa: PLR1702
            sized = stage.batch_size if isinstance(stage.batch_size, dict) else {}
            if len(set(stage.tasks)) < len(stage.tasks):
                raise ValueError(f"stages.{index}.tasks: names a task twice")
            for field, names in (
                ("tasks", stage.tasks),
                ("batch_size", sized),
                ("rows_per_epoch", stage.rows_per_epoch),
                ("weights", stage.weights),
                ("reference", [stage.reference] if stage.reference else []),
                ("select", [] if stage.selects_by in SELECTIONS else [stage.selects_by]),
                ("guard", stage.guard if isinstance(stage.guard, dict) else []),
                ("lr.heads", self._rated_heads(stage)),
            ):
                for name in names:
                    if name not in self.tasks:
                        hint = did_you_mean(name, self.tasks)
                        raise ValueError(f"stages.{index}.{field}: no task {name!r}{hint}")
        if len({stage.name for stage in self.stages}) < len(self.stages):
            raise ValueError("stages: every stage needs a name of its own")
        return self

    @model_validator(mode="after")
    def _nothing_is_decided_yet(self) -> "Recipe":
        for name, task in self.tasks.items():
            if isinstance(task, Labelled) and task.decide is not None:
                raise ValueError(
                    f"tasks.{name}.decide: is found after training, by `trivium calibrate`, and "
                    "stands in the model's folder; leave it out"
                )
        return self

    @model_validator(mode="after")
    def _parts_fit_together(self) -> "Recipe":
        for problem in problems(self):
            raise ValueError(problem)
        return self

    def _rated_heads(self, stage: Stage) -> list[str]:
        """What a stage names to give its head a rate of its own, but for trunks."""
        rated = stage.lr.heads if isinstance(stage.lr.heads, dict) else {}
        trunks = {task.resolved_head.shared_trunk for task in self.tasks.values()}
        return [name for name in rated if name not in trunks]

    def stage_tasks(self, stage: Stage) -> list[str]:
        return list(stage.tasks or self.tasks)

    def has_dev(self, name: str) -> bool:
        """Whether there are files by which a task can be judged: its own, or those of the tasks
        whose texts it uses."""
        each = (name, *self.tasks[name].lenders)
        return any(self.tasks[other].dev is not None for other in each)

    def judged_tasks(self, stage: Stage) -> list[str]:
        """Tasks that a stage is judged by, if they have dev rows: what it trains or guards, and
        what stages before it trained, unless as a means only."""
        known = set(self.stage_tasks(stage))
        for earlier in self.stages[: self.stages.index(stage)]:
            names = self.stage_tasks(earlier)
            known |= {name for name in names if not self.tasks[name].auxiliary}
        if isinstance(stage.guard, dict):
            known |= set(stage.guard)
        return [name for name in self.tasks if name in known]

    @property
    def freezes_base(self) -> bool:
        """Whether an adapter stands in for training the encoder's own parameters."""
        return any(adapter.freezes_base for adapter in self.adapters)

    def shares(self, stage: Stage) -> bool:
        """Whether a stage trains parameters that several tasks can reach: the encoder's own, those
        of an adapter, or a trunk's. `MultiTaskModel.shared_parameters` then says which."""
        return (
            (stage.trains.trains_any and not self.freezes_base)
            or any(adapter.shared for adapter in self.adapters)
            or any(self.tasks[n].resolved_head.shared_trunk for n in self.stage_tasks(stage))
        )


def _meant(name: str, tasks: dict[str, Any]) -> str | None:
    """A task that is written out and has a name much like it."""
    known = [key for key, task in tasks.items() if isinstance(task, dict) and "kind" in task]
    return next(iter(difflib.get_close_matches(name, known, n=1)), None)


def problems(recipe: Recipe) -> Iterator[str]:
    """Combinations that make no sense, each with its reason and what to do."""
    try:
        check_trunks(recipe.tasks)
    except ValueError as error:
        yield str(error)
    kinds = [adapter.kind for adapter in recipe.adapters]
    for kind in kinds:
        if kinds.count(kind) > 1:
            yield f"adapters: {kind} stands twice; one serves all its tasks"
    for index, adapter in enumerate(recipe.adapters):
        for name in adapter.tasks:
            if name not in recipe.tasks:
                hint = did_you_mean(name, recipe.tasks)
                yield f"adapters.{index}.tasks: no task {name!r}{hint}"
    # What is wrong with a task's texts would only be found again in what is said of stages.
    if wrong := [why for t in recipe.tasks.values() for why in t.text_problems(recipe.tasks)]:
        yield from wrong
        return
    for index, stage in enumerate(recipe.stages):
        for problem in _stage_problems(recipe, stage, first=index == 0):
            yield f"stages.{index}.{problem}"


def _stage_problems(recipe: Recipe, stage: Stage, *, first: bool) -> Iterator[str]:
    names = recipe.stage_tasks(stage)
    for number, part in enumerate(stage.regularizers):
        for name in dict.fromkeys(part.named_tasks):
            if name not in names:
                hint = did_you_mean(name, names)
                yield f"regularizers.{number}: the stage does not train {name!r}{hint}"
            elif why := part.misfit(recipe.tasks[name]):
                yield f"regularizers.{number}: {why}"
    if stage.reference and stage.reference not in names:
        yield f"reference: the stage does not train {stage.reference!r}"
    chosen = recipe.tasks.get(stage.selects_by)
    if chosen is not None and not recipe.has_dev(chosen.name):
        yield f"select: {stage.selects_by} has no `dev` file to judge by"
    elif chosen is not None and stage.selects_by not in recipe.judged_tasks(stage):
        why = (
            f"neither this stage nor one before it trains {chosen.name}, so it is not judged by it"
        )
        if chosen.auxiliary:
            why = f"{chosen.name} is auxiliary: only stages that train or guard it are judged by it"
        yield f"select: {why}"
    yield from _trains_problems(recipe, stage)
    yield from _gradient_problems(recipe, stage, names)
    yield from _guard_problems(recipe, stage, first=first)


def _trains_problems(recipe: Recipe, stage: Stage) -> Iterator[str]:
    """What of the encoder cannot be trained as the stage says, beside the recipe's adapters."""
    if recipe.freezes_base and stage.trains.chooses:
        who = next(adapter.kind for adapter in recipe.adapters if adapter.freezes_base)
        yield (
            f"trains: {stage.trains.kind} chooses among the encoder's own parameters, but {who} "
            "freezes them all; set its `freeze_base: false`, or leave `trains` out"
        )
    if recipe.adapters and not stage.trains.drops_frozen:
        yield (
            f"trains: {stage.trains.kind} has `frozen_dropout: false`, but with adapters, which "
            "learn in all layers, no layer is frozen; leave it out"
        )


def _guard_problems(recipe: Recipe, stage: Stage, *, first: bool) -> Iterator[str]:
    """What keeps a stage from being guarded as it says."""
    if stage.guard_from is not None:
        earlier = [each.name for each in recipe.stages[: recipe.stages.index(stage)]]
        if stage.guard is None:
            yield "guard_from: says whose scores a guard is of, but there is no `guard`"
        elif stage.guard_from not in earlier:
            hint = did_you_mean(stage.guard_from, earlier)
            yield f"guard_from: no earlier stage {stage.guard_from!r}{hint}"
    if stage.guard is not None:
        if first:
            yield "guard: the first stage has no earlier scores to guard; put a stage before it"
        judged = recipe.judged_tasks(stage)
        without = [n for n in judged if stage.floor(n) and not recipe.has_dev(n)]
        if without:
            yield f"guard: {', '.join(without)}: there is no `dev` file to judge by"


def _gradient_problems(recipe: Recipe, stage: Stage, names: list[str]) -> Iterator[str]:
    """What keeps the gradients of several tasks from being compared."""
    if stage.combiner.needs_gram:
        who = f"combiner: {stage.combiner.kind} combines"
    elif stage.conflicts_every:
        who = "conflicts_every: compares"
    else:
        return
    if len(names) < 2:
        yield f"{who} the gradients of several tasks, but the stage trains only {names[0]!r}"
    elif stage.sampler.most_tasks(len(names), stage.batches_per_step) < 2:
        more_help = stage.sampler.most_tasks(len(names), 2) > 1
        other = ", or `batches_per_step: 2` or more" if more_help else ""
        yield (
            f"{who} the gradients of several tasks in a step, but the sampler "
            f"{stage.sampler.kind} gives a step one task; use `sampler: joint`{other}"
        )
    elif not recipe.shares(stage):
        yield (
            f"{who} gradients of what tasks share, but nothing shared is trained: the encoder is "
            "frozen, and so no task can disturb another; use `sum`, or train the encoder"
        )
