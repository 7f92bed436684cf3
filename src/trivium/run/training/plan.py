"""What a stage will do, in numbers: known before the first step, printed and followed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from trivium.recipe import Recipe, Stage
from trivium.recipe.stage import DEFAULT_EPOCHS

CONFLICTS_EVERY = 10
"""Steps between measurements where the tasks' gradients are kept apart anyway."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A stage in numbers."""

    tasks: list[str]
    rows: dict[str, int]
    """Rows per epoch after caps: what samplers go by."""
    sizes: dict[str, int]
    """Rows per batch."""
    batches: dict[str, int]
    """Batches that one pass over those rows takes."""
    weights: dict[str, float]
    steps_per_epoch: int
    steps: int
    epochs: int
    evaluate_every: int
    batches_per_step: int
    conflicts_every: int | None

    def measures_conflicts(self, step: int) -> bool:
        """Whether this step tells the journal the cosines of the tasks' gradients, by layer."""
        return self.conflicts_every is not None and step % self.conflicts_every == 0

    def epochs_done(self, step: int) -> float:
        return step / self.steps_per_epoch


def plan_stage(stage: Stage, recipe: Recipe, rows: Mapping[str, int]) -> Plan:
    """An epoch holds as many batches as one pass over every task's (capped) rows.

    rows: labelled training rows of every task.
    """
    names = recipe.stage_tasks(stage)
    capped = {name: min(stage.rows_per_epoch.get(name, rows[name]), rows[name]) for name in names}
    sizes = _sizes(stage, capped)
    if stage.reference:
        capped = _held_to_reference(stage.reference, capped, sizes)
    batches = {name: -(-capped[name] // sizes[name]) for name in names}
    per_step = stage.sampler.tasks_per_draw(len(names)) * stage.batches_per_step
    steps_per_epoch = math.ceil(stage.sampler.batches_per_epoch(list(batches.values())) / per_step)
    ends = [stage.epochs * steps_per_epoch] if stage.epochs else []
    ends += [stage.steps] if stage.steps is not None else []
    steps = min(ends, default=DEFAULT_EPOCHS * steps_per_epoch)
    return Plan(
        tasks=names,
        rows=capped,
        sizes=sizes,
        batches=batches,
        weights={n: stage.weights.get(n, recipe.tasks[n].weight) for n in names},
        steps_per_epoch=steps_per_epoch,
        steps=steps,
        epochs=math.ceil(steps / steps_per_epoch),
        evaluate_every=stage.evaluate_every or steps_per_epoch,
        batches_per_step=per_step,
        conflicts_every=stage.conflicts_every
        or (CONFLICTS_EVERY if stage.combiner.needs_gram and len(names) > 1 else None),
    )


def _sizes(stage: Stage, rows: Mapping[str, int]) -> dict[str, int]:
    """Rows per batch of every task."""
    if stage.batches == "fixed":
        return {name: stage.size(name) for name in rows}
    most = max(rows.values())
    return {name: max(1, round(stage.size(name) * n / most)) for name, n in rows.items()}


def _held_to_reference(
    reference: str, rows: Mapping[str, int], sizes: Mapping[str, int]
) -> dict[str, int]:
    """Rows per epoch where larger tasks get floor(batches_ref * N_ref / N_t) batches, at least 1.

    So the more rows a task has beyond the reference, the *fewer* of them an epoch shows.
    """
    batches = -(-rows[reference] // sizes[reference])
    held = dict(rows)
    for name, count in rows.items():
        if count > rows[reference]:
            held[name] = min(count, max(1, batches * rows[reference] // count) * sizes[name])
    return held


def coverage(stage: Stage, plan: Plan) -> dict[str, float]:
    """Expected passes over each task's (capped) rows of an epoch in the whole stage."""
    drawn = dict.fromkeys(plan.tasks, 0.0)
    for epoch in range(1, plan.epochs + 1):
        first = (epoch - 1) * plan.steps_per_epoch
        steps = min(plan.steps_per_epoch, plan.steps - first)
        shares = stage.sampler.shares(list(plan.rows.values()), epoch, plan.epochs)
        for name, share in zip(plan.tasks, shares, strict=True):
            drawn[name] += share * steps * plan.batches_per_step
    return {name: drawn[name] / plan.batches[name] for name in plan.tasks}
