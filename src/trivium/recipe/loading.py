"""A recipe as it was given, with a budget and changes by dotted path, checked."""

from collections.abc import Sequence
from typing import Any

from trivium.errors import RecipeError, did_you_mean
from trivium.recipe.budget import FULL, NOTES
from trivium.recipe.dotted import apply, put
from trivium.recipe.file import RecipeFile
from trivium.recipe.folders import with_folders
from trivium.recipe.given import AnyRecipe, Given, take
from trivium.recipe.only import only_tasks
from trivium.recipe.parse import parse_file
from trivium.recipe.plain_yaml import unshared
from trivium.recipe.presets import preset_of, with_preset
from trivium.recipe.reading import settings_and_notes
from trivium.recipe.schema import Recipe


def load_recipe(
    recipe: AnyRecipe | Given,
    changes: Sequence[str] = (),
    budget: str = FULL,
    only: Sequence[str] = (),
    preset: str | None = None,
) -> Recipe:
    """The recipe in a YAML file, with a budget and then `dotted.path=value` changes, checked.

    recipe: the file, or what stands for one: see `AnyRecipe`. Relative `data` and `encoder` folders
    are made absolute, so that the recipe means the same elsewhere. only: these of its tasks, see
    `trivium.recipe.only`. preset: `fast`, `good` or `best`, by default what the file says; what a
    run of it is, see `trivium.recipe.presets`. Raises RecipeError.

        recipe = trivium.load_recipe("recipes/quickstart.yaml", ["stages.0.epochs=1", "seed=3"])
        recipe.stages[0].epochs, recipe.seed
    """
    loaded = load_recipe_file(recipe, changes, budget, preset).recipe
    return only_tasks(loaded, only) if only else loaded


def load_recipe_file(
    recipe: AnyRecipe | Given,
    changes: Sequence[str] = (),
    budget: str = FULL,
    preset: str | None = None,
) -> RecipeFile:
    """The same, with what the file says beside the recipe: a search, budgets, reported scores.

    The search may be changed as settings are. What the file says under `reported` and `budgets` is
    about the recipe as it stands there: it must fit that, and not what the changes make of it. The
    preset comes last.
    """
    for change in changes:
        _refuse_note(change)
    given = take(recipe)
    chosen = preset_of(given, preset)
    if given.recipe is not None and not changes and budget == FULL:
        return RecipeFile(recipe=with_folders(with_preset(given.recipe, chosen), given.path))
    values, notes = settings_and_notes(given)
    where = str(given.path)
    file = parse_file(_basis(values, changes, where) | notes, where)
    if budget != FULL:
        _spend(values, file, budget, where, changes)
    for change in changes:
        apply(values, change)
    if changes or budget != FULL:
        changed = parse_file(values, where)
        # A copy, which is not checked again: budgets may not fit what the changes made.
        file = file.model_copy(update={"recipe": changed.recipe, "search": changed.search})
    whole = with_folders(with_preset(file.recipe, chosen), given.path)
    return file.model_copy(update={"recipe": whole})


def check_budgets(file: RecipeFile, recipe: AnyRecipe | Given, changes: Sequence[str] = ()) -> None:
    """Try every budget of a recipe's file on it. Raises RecipeError for the first that fails.

    file: what was loaded. changes: only for a file that is no recipe without them.
    """
    given = take(recipe)
    for name in file.budgets:
        if name != FULL:
            values, _ = settings_and_notes(given)
            _spend(values, file, name, str(given.path), changes)


def _refuse_note(change: str) -> None:
    name = change.partition("=")[0].partition(".")[0]
    if name in NOTES:
        raise RecipeError(
            f"--set {change}: `{name}` is no setting of a run, but says something of the recipe as "
            "its file has it; change it in the file. A budget is chosen with --budget, a preset "
            "with --preset."
        )


def _basis(values: dict[str, Any], changes: Sequence[str], where: str) -> dict[str, Any]:
    """The settings themselves; or with the changes, if they are no recipe without them."""
    if not changes:
        return values
    try:
        parse_file(values, where)
    except RecipeError:
        changed: dict[str, Any] = unshared(values)
        for change in changes:
            apply(changed, change)
        return changed
    return values


def _spend(
    values: dict[str, Any], file: RecipeFile, name: str, where: str, changes: Sequence[str]
) -> None:
    """Put what a budget changes into a recipe's settings: what it sets, then its caps on that.

    file: has the budgets. changes: what comes after, without which the settings may be no recipe;
    a task or a stage that only they add has no caps.
    """
    if name not in file.budgets:
        known = list(dict.fromkeys([FULL, *file.budgets]))
        raise RecipeError(f"{where}: has no budget {name!r}{did_you_mean(name, known)}")
    budget, place = file.budgets[name], f"{where}: budgets.{name}"
    for dotted, value in budget.set.items():
        put(values, dotted, value, f"{place}.set.{dotted}")
    here = f"{where}: with the budget {name}"
    recipe = parse_file(_basis(values, changes, here), here).recipe
    own, stages = values.get("tasks"), values.get("stages")
    tasks = {n: t for n, t in recipe.tasks.items() if isinstance(own, dict) and n in own}
    there = recipe.stages[: len(stages) if isinstance(stages, list) else 1]
    for problem in budget.misfits(tasks, there):
        raise RecipeError(f"{place}.{problem}")
    for dotted, value in budget.changes(tasks, there).items():
        put(values, dotted, value, place)
    parse_file(_basis(values, changes, here), here)
