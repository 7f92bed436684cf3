"""Recipes from YAML files, with changes by dotted path; and back to YAML."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trivium.errors import RecipeError, did_you_mean
from trivium.parts.regularizers import SEED
from trivium.recipe.budget import ASIDE, FULL, NOTES
from trivium.recipe.dotted import apply, places, put, value_at
from trivium.recipe.ensembles import KEY as ENSEMBLE
from trivium.recipe.messages import problems
from trivium.recipe.plain_yaml import read_yaml, unshared, write_yaml
from trivium.recipe.schema import Recipe

__all__ = [
    "change_recipe", "check_budgets", "dump_recipe", "load_recipe", "parse_recipe", "read_yaml",
]  # fmt: skip


def load_recipe(path: str | Path, changes: Sequence[str] = (), budget: str = FULL) -> Recipe:
    """The recipe in a YAML file, with a budget and then `dotted.path=value` changes, checked.

    Relative `data` and `encoder` folders are made absolute, so that the recipe means the same
    elsewhere. What the file says under `reported` and `budgets` is about the recipe as it stands
    there: it must fit that, and not what the changes make of it. Raises RecipeError.
    """
    path = Path(path)
    for change in changes:
        _refuse_note(change)
    values, notes = _settings_and_notes(path)
    recipe = told = parse_recipe(_basis(values, changes, str(path)) | notes, str(path))
    if budget != FULL:
        _spend(values, told, budget, path, changes)
    for change in changes:
        apply(values, change)
    if changes or budget != FULL:
        kept = {name: getattr(told, name) for name in NOTES}
        recipe = parse_recipe(values, str(path)).model_copy(update=kept)
    return recipe.model_copy(update=_absolute(recipe, path))


def check_budgets(recipe: Recipe, path: str | Path, changes: Sequence[str] = ()) -> None:
    """Try every budget of a recipe on its file. Raises RecipeError for the first that fails.

    changes: only for a file that is no recipe without them.
    """
    for name in recipe.budgets:
        if name != FULL:
            values, _ = _settings_and_notes(Path(path))
            _spend(values, recipe, name, Path(path), changes)


def _refuse_note(change: str) -> None:
    name = change.partition("=")[0].partition(".")[0]
    if name in NOTES:
        raise RecipeError(
            f"--set {change}: `{name}` is no setting of a run, but says something of the recipe as "
            "its file has it; change it in the file. A budget is chosen with --budget."
        )


def _settings_and_notes(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A recipe file's settings, and what it says of them."""
    values = _values(path)
    notes = {name: values.pop(name) for name in NOTES if name in values}
    return values, notes


def _basis(values: dict[str, Any], changes: Sequence[str], where: str) -> dict[str, Any]:
    """The settings themselves; or with the changes, if they are no recipe without them."""
    if not changes:
        return values
    try:
        parse_recipe(values, where)
    except RecipeError:
        changed: dict[str, Any] = unshared(values)
        for change in changes:
            apply(changed, change)
        return changed
    return values


def _spend(
    values: dict[str, Any], told: Recipe, name: str, path: Path, changes: Sequence[str]
) -> None:
    """Put what a budget changes into a recipe's settings: what it sets, then its caps on that.

    told: has the budgets. changes: what comes after, without which the settings may be no recipe;
    a task or a stage that only they add has no caps.
    """
    if name not in told.budgets:
        known = list(dict.fromkeys([FULL, *told.budgets]))
        raise RecipeError(f"{path}: has no budget {name!r}{did_you_mean(name, known)}")
    budget, place = told.budgets[name], f"{path}: budgets.{name}"
    for dotted, value in budget.set.items():
        put(values, dotted, value, f"{place}.set.{dotted}")
    where = f"{path}: with the budget {name}"
    whole = parse_recipe(_basis(values, changes, where), where)
    own, stages = values.get("tasks"), values.get("stages")
    tasks = {n: t for n, t in whole.tasks.items() if isinstance(own, dict) and n in own}
    there = whole.stages[: len(stages) if isinstance(stages, list) else 1]
    for problem in budget.misfits(tasks, there):
        raise RecipeError(f"{place}.{problem}")
    for dotted, value in budget.changes(tasks, there).items():
        put(values, dotted, value, place)
    parse_recipe(_basis(values, changes, where), where)


def _values(path: Path, heirs: Sequence[Path] = ()) -> dict[str, Any]:
    """A recipe file's settings; one that `extends` another holds only what it changes."""
    values = read_yaml(path)
    if ENSEMBLE in values:
        raise RecipeError(
            f"{path}: is the recipe of an ensemble, which is not trained itself: `trivium study` "
            "makes it of the runs of its members' recipes, `trivium ensemble` of runs that you name"
        )
    if "extends" not in values:
        return values
    if more := sorted(map(str, set(values) - {"extends", "set", "reported", "budgets"})):
        raise RecipeError(
            f"{path}: {more[0]}: a recipe that extends another says its changes under `set`, as "
            "dotted.path: value, such as `stages.0.epochs: 1`; only `reported` and `budgets` may "
            "stand beside it."
        )
    base, changes = values["extends"], values.get("set", {})
    if not isinstance(base, str) or not isinstance(changes, dict):
        raise RecipeError(
            f"{path}: `extends` names a recipe file, and `set` is a table of dotted.path: value."
        )
    source = path.parent / base
    if source.resolve() in (known.resolve() for known in (*heirs, path)):
        raise RecipeError(f"{path}: extends: {base} extends this recipe in turn.")
    if not source.is_file():
        raise RecipeError(f"{path}: extends: no recipe {source}.")
    found = {"data": "."} | _values(source, (*heirs, path))
    _place(found, source.parent)
    _place_budgets(found, source.parent)
    found.pop("reported", None)  # what was reported of the base says nothing of its heirs
    if "reported" in values:
        found["reported"] = values["reported"]
    if isinstance(own := values.get("budgets"), dict):
        found["budgets"] = (found.get("budgets") or {}) | own
    elif "budgets" in values:
        found["budgets"] = own
    for dotted, value in changes.items():
        put(found, str(dotted), value, f"{path}: set: {dotted}")
    return found


def _place(values: dict[str, Any], home: Path) -> None:
    """Folders that a recipe's settings name beside its file, made absolute, in place."""
    for key in ("data", "encoder"):
        if isinstance(values.get(key), str) and (home / values[key]).is_dir():
            values[key] = str((home / values[key]).resolve())
    _place_parts(values, home)


def _place_budgets(values: dict[str, Any], home: Path) -> None:
    """The same of the folders in what a recipe's budgets set."""
    budgets = values.get("budgets")
    for budget in budgets.values() if isinstance(budgets, dict) else ():
        changes = budget.get("set") if isinstance(budget, dict) else None
        if not isinstance(changes, dict):
            continue
        changed = unshared(values)
        for dotted, value in changes.items():
            try:
                put(changed, str(dotted), value, "")
            except RecipeError:
                break  # it is told when the budget is tried
            _place(changed, home)
            changes[dotted] = unshared(value_at(changed, places(changed, str(dotted))[0]))


def _place_parts(values: dict[str, Any], home: Path) -> None:
    """Folders that a recipe's parts name beside it, made absolute, in place."""

    def placed(value: Any) -> Any:
        if isinstance(value, str):
            return str((home / value).resolve()) if (home / value).is_dir() else value
        if isinstance(value, list):
            return [placed(each) for each in value]
        return value | {"run": placed(value.get("run"))} if isinstance(value, dict) else value

    def parts(table: Any, key: str) -> list[dict[str, Any]]:
        each = table.get(key) if isinstance(table, dict) else None
        each = each if isinstance(each, list) else [each]
        return [part for part in each if isinstance(part, dict)]

    for adapter in parts(values, "adapters"):
        if "start" in adapter:
            adapter["start"] = placed(adapter["start"])
    for stage in parts(values, "stages"):
        for part in parts(stage, "regularizers"):
            teachers = part.get("teachers")
            if isinstance(teachers, dict):
                part["teachers"] = {task: placed(each) for task, each in teachers.items()}
            elif teachers is not None:
                part["teachers"] = placed(teachers)


def parse_recipe(values: Mapping[str, Any], where: str = "recipe") -> Recipe:
    """Values to a Recipe; RecipeError with one line per problem."""
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        lines = problems(error.errors())
        start = f"{where}: " if where else ""
        raise RecipeError("\n".join(start + line for line in lines)) from error


def change_recipe(recipe: Recipe, values: Mapping[str, Any], path: Path) -> Recipe:
    """The recipe of a file with other values at dotted paths, and only what its runs have.

    Folders in them may be relative to the file. The lines of a RecipeError start with the path.
    """
    changed = recipe.model_dump(mode="json", exclude=set(ASIDE))
    for dotted, value in values.items():
        put(changed, dotted, value, dotted)
    found = parse_recipe(changed, "")
    return found.model_copy(update=_absolute(found, path))


def dump_recipe(recipe: Recipe, only: set[str] | None = None) -> str:
    """The whole recipe as YAML, every setting written out; or `only` some of its settings."""
    names = {"tasks": {"__all__": {"name"}}}
    values = recipe.model_dump(mode="json", include=only, exclude=names)
    for name in ASIDE:
        if not getattr(recipe, name):
            values.pop(name, None)
    return write_yaml(values)


def _absolute(recipe: Recipe, path: Path) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    home = path.parent
    data = Path(recipe.data).expanduser()
    choices = [home / data, Path.cwd() / data]
    found = next((folder for folder in choices if folder.is_dir()), None)
    if found is None:
        tried = " or ".join(dict.fromkeys(str(folder.resolve()) for folder in choices))
        raise RecipeError(f"{path}: data: no folder {tried}.")
    changes["data"] = str(found.resolve())
    if recipe.encoder != "minilm" and Path(folder := _near(home, recipe.encoder)).is_dir():
        changes["encoder"] = folder
    changes["adapters"] = tuple(
        adapter.moved(lambda folder: _near(home, folder)) for adapter in recipe.adapters
    )
    changes["stages"] = tuple(
        stage.model_copy(
            update={
                "regularizers": tuple(
                    part.moved(lambda run: _near(home, run, otherwise=-1))
                    for part in stage.regularizers
                )
            }
        )
        for stage in recipe.stages
    )
    return changes


def _near(home: Path, folder: str, otherwise: int = 0) -> str:
    """A folder named in a recipe: from the recipe's own, or else from the working directory.

    otherwise: which of the two, where neither is there.
    """
    choices = [home / Path(folder).expanduser(), Path(folder).expanduser()]
    return str(next((path for path in choices if _is_there(path)), choices[otherwise]).resolve())


def _is_there(folder: Path) -> bool:
    """Whether a folder exists; of one whose name depends on the seed, the folder that holds it."""
    named = [place for place, part in enumerate(folder.parts) if SEED in part]
    return Path(*folder.parts[: named[0]] if named else folder.parts).is_dir()
