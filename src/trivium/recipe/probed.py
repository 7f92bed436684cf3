"""Which heads are a linear probe before the first step, and where the model before the first step
may be kept: since it has probes, or is one that was trained before."""

from trivium.recipe.schema import Recipe
from trivium.recipe.stage import Stage


def falls_back(recipe: Recipe, name: str) -> bool:
    """Whether a task's head is drawn, and judged as a probe before the first step."""
    head = recipe.tasks[name].resolved_head
    can = head.can_start_from_probe and not head.starts_from_probe
    return recipe.fallback == "probe" and can


def judges_probe(recipe: Recipe, name: str) -> bool:
    """Whether a task's head is a probe, where the model is judged before the first step."""
    return recipe.tasks[name].resolved_head.starts_from_probe or falls_back(recipe, name)


def falls_back_on_start(recipe: Recipe) -> bool:
    """Whether the model that a recipe starts from is kept where no step is better."""
    return recipe.fallback == "start" and recipe.start is not None


def judges_start(recipe: Recipe, stage: Stage) -> bool:
    """Whether a stage's model is judged before its first step, as it is after others, and may be
    the one that is kept.

    So it is where heads start from a linear probe, or fall back on it, and are then the probe, and
    where the recipe falls back on the model that it starts from: what is kept is not below that by
    what the stage selects by. Only the first stage that trains starts there. One that keeps its
    last model, or has floors under what it may lose, does not choose its start.
    """
    first = next((each for each in recipe.stages if each.steps != 0), None)
    by = stage.selects_by
    if first is None or stage.name != first.name or stage.guard is not None or by == "last":
        return False
    if falls_back_on_start(recipe):
        return True
    names = [by] if by in recipe.tasks else recipe.judged_tasks(stage)
    return any(judges_probe(recipe, name) for name in names if recipe.has_dev(name))


def fallen_back_in(recipe: Recipe, stage: Stage) -> list[str]:
    """Tasks whose drawn heads are probes where a stage's start is judged."""
    if not judges_start(recipe, stage):
        return []
    return [name for name in recipe.judged_tasks(stage) if falls_back(recipe, name)]


def fall_back(recipe: Recipe) -> list[str]:
    """Tasks whose heads are drawn, and judged as probes before the first step of some stage."""
    return [name for stage in recipe.stages for name in fallen_back_in(recipe, stage)]
