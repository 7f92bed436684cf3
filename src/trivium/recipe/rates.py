"""The learning rate of heads that a recipe gives none: by kind of task and head."""

from trivium.parts.optim import USUAL_HEADS
from trivium.parts.tasks import Multilabel, Ordinal, Task
from trivium.parts.tasks.labels import Labelled
from trivium.recipe.schema import Recipe
from trivium.recipe.stage import Stage

OF_ONE_LAYER = 1e-2
"""Of a linear layer that answers with labels: at a tenth of it, many labels are not learned in the
usual number of steps. docs/defaults.md has what was measured."""


def with_rates(recipe: Recipe) -> Recipe:
    """The recipe with the rates of heads written out, where it left them open."""
    stages = tuple(_with_rate(recipe, stage) for stage in recipe.stages)
    return recipe.model_copy(update={"stages": stages})


def rate_of(task: Task) -> float:
    """Of one task's head."""
    fast = isinstance(task, Labelled) and not isinstance(task, Ordinal | Multilabel)
    return OF_ONE_LAYER if fast and task.resolved_head.can_start_from_probe else USUAL_HEADS


def _with_rate(recipe: Recipe, stage: Stage) -> Stage:
    if isinstance(stage.lr.heads, int | float):
        return stage
    usual = {name: rate_of(recipe.tasks[name]) for name in recipe.stage_tasks(stage)}
    heads: float | dict[str, float] = usual
    if isinstance(stage.lr.heads, dict):
        used = {recipe.tasks[name].resolved_head.shared_trunk for name in usual}
        trunks = dict.fromkeys(sorted(filter(None, used)), USUAL_HEADS)
        heads = usual | trunks | stage.lr.heads
    elif len(set(usual.values())) == 1:
        heads = next(iter(usual.values()))
    # Adapters learn as heads do only where a recipe says how that is.
    chosen = {"heads": heads, "adapters": stage.lr.adapter_rate}
    return stage.model_copy(update={"lr": stage.lr.model_copy(update=chosen)})
