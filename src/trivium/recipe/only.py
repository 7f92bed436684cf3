"""A recipe of several tasks with some of them only: what single-task baselines are trained from."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from trivium.errors import RecipeError, did_you_mean
from trivium.recipe.parse import parse_recipe
from trivium.recipe.schema import Recipe
from trivium.recipe.stage import SELECTIONS


def only_tasks(recipe: Recipe, tasks: Sequence[str]) -> Recipe:
    """The recipe without its other tasks, and without all that it says of them.

    Rows, rates, epochs and batches stay as they are; so does a stage's number of steps, where it
    says one. A stage that trains none of the tasks is left out, and with it the floors of a guard
    that is then first. With one task left there is nothing to combine: its gradients are summed.
    Texts that a task borrows from others (masked words) come along with their tasks, which are then
    `auxiliary`. Raises RecipeError for a name that is no task, or where nothing is left to train.

        alone = only_tasks(trivium.load_recipe("recipes/quickstart.yaml"), ["topic"])
        list(alone.tasks)
    """
    if not tasks:
        raise RecipeError("--only: name a task of the recipe, or several: --only topic,urgency.")
    for name in tasks:
        if name not in recipe.tasks:
            raise RecipeError(f"--only {name}: no such task{did_you_mean(name, recipe.tasks)}")
    wanted = set(tasks)
    lent = {lender for name in wanted for lender in recipe.tasks[name].lenders} - wanted
    values = recipe.model_dump(mode="json")
    values["tasks"] = {
        name: task | ({"auxiliary": True} if name in lent else {})
        for name, task in values["tasks"].items()
        if name in wanted | lent
    }
    others = set(recipe.tasks) - set(values["tasks"])
    values["adapters"] = [kept for each in values["adapters"] if (kept := _part(each, others))]
    stages = [
        _stage(each, recipe.stage_tasks(stage), wanted, others, lent)
        for stage, each in zip(recipe.stages, values["stages"], strict=True)
        if wanted & set(recipe.stage_tasks(stage))
    ]
    if not stages:
        raise RecipeError(f"--only {','.join(tasks)}: no stage of the recipe trains that.")
    stages[0] |= {"guard": None, "guard_from": None}  # there are no earlier scores
    for stage in stages:
        if stage["guard"] is None or stage["guard_from"] not in [each["name"] for each in stages]:
            stage["guard_from"] = None
    return parse_recipe(values | {"stages": stages}, f"--only {','.join(tasks)}")


def _stage(
    values: dict[str, Any],
    trained: Sequence[str],
    wanted: Collection[str],
    others: Collection[str],
    lent: Collection[str],
) -> dict[str, Any]:
    """What is left of a stage that trains some of those that are wanted."""
    left = [name for name in trained if name in wanted]
    values |= {"tasks": left}
    for field in ("batch_size", "rows_per_epoch", "weights", "guard"):
        if isinstance(values[field], dict):
            gone = others if field == "guard" else {*others, *lent}  # what is lent is not trained
            values[field] = {n: v for n, v in values[field].items() if n not in gone}
    values["batch_size"] = values["batch_size"] or 32  # none of a table's sizes was theirs
    if isinstance(rates := values["lr"]["heads"], dict):
        gone = {*others, *lent}
        values["lr"]["heads"] = {n: rate for n, rate in rates.items() if n not in gone} or None
    values["guard"] = values["guard"] or None
    if values["reference"] not in left:
        values["reference"] = None
    if values["select"] not in (None, *SELECTIONS) and values["select"] in others:
        values["select"] = None
    if len(left) == 1:
        values |= {"combiner": "sum", "conflicts_every": None}
    values["regularizers"] = [
        kept for each in values["regularizers"] if (kept := _part(each, others))
    ]
    return values


def _part(values: Mapping[str, Any], others: Collection[str]) -> dict[str, Any] | None:
    """A part's settings without those for other tasks; None where they were all that it is for."""
    kept = dict(values)
    for field, value in values.items():
        if field == "tasks":
            kept[field] = [name for name in value if name not in others]
        elif isinstance(value, dict):
            kept[field] = {name: one for name, one in value.items() if name not in others}
        if value and not kept[field] and field in ("tasks", "weight", "teachers"):
            return None
    return kept
