"""Runs that end below what their tasks had without training, or as that, in words, with what to
change."""

import math
from collections.abc import Iterator

from trivium.parts.tasks import Task
from trivium.recipe import Recipe, Stage
from trivium.recipe.probed import fall_back, falls_back_on_start, judges_probe
from trivium.recipe.stage import DEFAULT_EPOCHS
from trivium.run.folder.scores import Scores

SPLIT = "dev"
FASTER = 5
"""Times the heads' learning rate that is worth a try."""
FASTEST = 0.02
"""From where on it is not."""


def start_notes(recipe: Recipe, scores: Scores, split: str = SPLIT) -> list[str]:
    """What is to be said of a run beside its probes; nothing where it is better than they are."""
    return [*_kept_start(recipe, scores), *below_probe(recipe, scores, split)]


def below_probe(recipe: Recipe, scores: Scores, split: str = SPLIT) -> list[str]:
    """A line for every task whose score is below that of its linear probe, on the same rows."""
    lines = [
        _line(recipe, name, scores, split) for name in scores.baselines if name in recipe.tasks
    ]
    return [line for line in lines if line]


def _kept_start(recipe: Recipe, scores: Scores) -> list[str]:
    """A line for a run whose training was no better than its probes, which are its model then."""
    chosen = scores.selected
    stages = [stage for stage in recipe.stages if chosen and stage.name == chosen.stage]
    if chosen is None or chosen.step != 0 or not stages or stages[0].steps == 0:
        return []
    same = f"{stages[0].name}: no step was better on dev ({chosen.by}) than the start"
    if falls_back_on_start(recipe):
        return [
            f"{same}. What is kept is the model as it began, from {recipe.start}: nothing of this "
            "training is in it. Learning rates may be too high, or the stage too long; or there is "
            "nothing more to be learned."
        ]
    judged = recipe.judged_tasks(stages[0])
    probes = [name for name in judged if judges_probe(recipe, name)]
    others = [name for name in judged if name not in probes]
    untrained = f" (and for {', '.join(others)} heads that learned nothing)" if others else ""
    changes = "; ".join(_changes(recipe, recipe.tasks[probes[0]])) if probes else ""
    advice = f"Of {probes[0]}: {changes}" if len(judged) > 1 else changes[:1].upper() + changes[1:]
    return [
        f"{same}. The model that is kept is the encoder as it was, with a linear probe for "
        f"{', '.join(probes)}{untrained}. {advice}."
    ]


def standard_error(metric: str, value: float, rows: float) -> float:
    """Roughly: of a share of rows sqrt(p (1 - p) / n), of a correlation (1 - r^2) / sqrt(n)."""
    if metric in ("pearson", "spearman"):
        return (1 - value**2) / math.sqrt(rows)
    return math.sqrt(max(value * (1 - value), 0.0) / rows)


def _line(recipe: Recipe, name: str, scores: Scores, split: str) -> str:
    """Nothing of a task that is no worse than its probe, or was not judged beside it."""
    baselines = scores.baselines[name]
    ours, probe = (
        scores.metric(name, split, baselines.metric),
        baselines.probe.scores.get(split, {}),
    )
    theirs = probe.get(baselines.metric)
    if ours is None or theirs is None or ours >= theirs:
        return ""
    rows = probe["rows"]
    noise = standard_error(baselines.metric, theirs, rows)
    is_clear = theirs - ours > noise
    much = "is below" if is_clear else "is no better than"
    sure = "" if is_clear else f", though by less than the standard error of {rows:,} rows"
    # Test rows are not there to choose settings by.
    changes = "; ".join(_changes(recipe, recipe.tasks[name])) if split == SPLIT else ""
    advice = f" {changes[:1].upper()}{changes[1:]}." if changes else ""
    return (
        f"{name}: {baselines.metric} {ours:.4f} {much} the {theirs:.4f} of a linear probe on the "
        f"encoder before training{sure}.{advice}"
    )


def _changes(recipe: Recipe, task: Task) -> Iterator[str]:
    """What is worth a try, the most promising first."""
    stages = [
        (place, stage)
        for place, stage in enumerate(recipe.stages)
        if task.name in recipe.stage_tasks(stage)
    ]
    if not stages:  # as it came from the model that was started from
        return
    place, stage = stages[-1]
    head = task.resolved_head
    if task.is_pair and task.sequences == 1 and task.head is None:
        yield f"read its texts apart, as the probe does (`--set tasks.{task.name}.encode=separate`)"
    if head.can_start_from_probe and not head.starts_from_probe:
        yield (
            f"start its head from the probe (`tasks.{task.name}.head: "
            f"{{kind: {head.kind}, start: probe}}`)"
        )
    if 0 < (rate := stage.lr.head_rate(task.name)) < FASTEST:
        yield (
            "raise the learning rate of heads "
            f"(`--set stages.{place}.lr.heads={rate * FASTER:g}`; it was {rate:g})"
        )
    yield f"train for longer ({_longer(place, stage)})"
    asked = recipe.model_copy(update={"fallback": "probe"})
    if recipe.fallback is None and task.name in fall_back(asked):
        yield "keep the probe where no step is better (`--set fallback=probe`)"


def _longer(place: int, stage: Stage) -> str:
    if stage.epochs is None and stage.steps is not None:
        return f"`--set stages.{place}.steps={2 * stage.steps or 100}`"
    return f"`--set stages.{place}.epochs={2 * (stage.epochs or DEFAULT_EPOCHS)}`"
