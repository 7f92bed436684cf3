"""Training that ends in time: how many steps there are time for, known before the first."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trivium.errors import RecipeError
from trivium.recipe import Recipe, Stage
from trivium.run.training.pace import Pace
from trivium.run.training.plan import Plan

MARGIN = 0.1
"""Of the time, kept for what was measured too short."""
JUDGING = 0.2
"""Of the time, at most, for evaluations on the way, where there is more than one a stage."""


@dataclass(frozen=True, slots=True)
class Timed:
    """A stage with the steps that there is time for."""

    stage: Stage
    whole: int
    """Steps that it would have without a limit."""
    steps: int
    evaluations: int
    seconds: float
    """That they will take, evaluations included."""

    @property
    def is_cut(self) -> bool:
        return self.steps < self.whole


def fit(
    stages: Sequence[Stage], plans: Sequence[Plan], paces: Sequence[Pace], seconds: float
) -> list[Timed]:
    """The stages, each cut by the same share if there is no time for all of them.

    seconds: for all stages together. Raises RecipeError where not even one step of each, and an
    evaluation after it, is in time.
    """
    floors = sum(p.judge_s for s, p in zip(stages, paces, strict=True) if s.guard is not None)
    left = seconds * (1 - MARGIN) - floors
    whole = [
        Timed(
            stage,
            plan.steps,
            plan.steps,
            n := evaluations_of(plan),
            seconds_of(pace, plan.steps, n),
        )
        for stage, plan, pace in zip(stages, plans, paces, strict=True)
    ]
    if sum(each.seconds for each in whole) <= left:
        return whole
    least = sum(seconds_of(pace, 1, 1) for pace in paces)
    if least > left:
        raise RecipeError(
            f"--minutes: one step and one evaluation of each stage take some {least:.0f} s here, "
            f"but there are {max(0.0, left):.0f}; give more minutes, or judge by fewer rows."
        )
    return _cut(whole, paces, left)


def shortened(recipe: Recipe, timed: Sequence[Timed]) -> Recipe:
    """The recipe with these steps: its schedules end with them, and a model is judged by then."""
    stages = [
        each.stage.model_copy(
            update={
                "steps": each.steps,
                "evaluate_every": math.ceil(each.steps / each.evaluations),
            }
        )
        if each.is_cut
        else each.stage
        for each in timed
    ]
    return recipe.model_copy(update={"stages": tuple(stages)})


def as_begun(recipe: Recipe, begun: Recipe) -> Recipe:
    """The recipe with the steps that a run of it began with, to be resumed with these."""
    if len(recipe.stages) != len(begun.stages):
        return recipe  # that they differ is told elsewhere
    stages = [
        stage.model_copy(update={"steps": old.steps, "evaluate_every": old.evaluate_every})
        for stage, old in zip(recipe.stages, begun.stages, strict=True)
    ]
    return recipe.model_copy(update={"stages": tuple(stages)})


def in_words(timed: Sequence[Timed], seconds: float) -> str:
    """What was decided, for people."""
    total = sum(each.seconds for each in timed)
    if not any(each.is_cut for each in timed):
        return f"all steps are in time: some {clock(total)} of {clock(seconds)}"
    steps = ", ".join(f"{each.stage.name} {each.steps:,} of {each.whole:,}" for each in timed)
    return f"steps that are in time: {steps}; some {clock(total)} of {clock(seconds)}"


def notes_on(timed: Sequence[Timed]) -> Iterator[str]:
    """What in the steps that stages were cut to may not do what was meant."""
    for cut in (each for each in timed if each.is_cut):
        for note in cut.stage.schedule.notes(cut.steps):
            yield f"stage {cut.stage.name}: {note}"


def clock(seconds: float) -> str:
    """So many minutes and seconds."""
    whole = round(seconds)
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"


def _cut(whole: Sequence[Timed], paces: Sequence[Pace], left: float) -> list[Timed]:
    judged = sum(n.evaluations * pace.judge_s for n, pace in zip(whole, paces, strict=True))
    share_judged = min(1.0, JUDGING * left / judged) if judged else 1.0
    counts = [max(1, int(each.evaluations * share_judged)) for each in whole]
    spent = sum(n * pace.judge_s for n, pace in zip(counts, paces, strict=True))
    steps_s = sum(each.whole * pace.step_s for each, pace in zip(whole, paces, strict=True))
    share = (left - spent) / steps_s
    found = []
    for each, pace, count in zip(whole, paces, counts, strict=True):
        steps = min(each.whole, max(1, int(share * each.whole)))
        n = min(count, steps)
        found.append(Timed(each.stage, each.whole, steps, n, seconds_of(pace, steps, n)))
    return found


def evaluations_of(plan: Plan) -> int:
    """On the way and at the end."""
    return max(1, math.ceil(plan.steps / plan.evaluate_every))


def seconds_of(pace: Pace, steps: int, evaluations: int) -> float:
    """Of a stage."""
    return steps * pace.step_s + evaluations * pace.judge_s
