"""Folders that a recipe names, made absolute, so that it means the same elsewhere."""

from pathlib import Path
from typing import Any

from trivium.errors import RecipeError
from trivium.parts.regularizers import SEED
from trivium.recipe.dotted import places, put, value_at
from trivium.recipe.plain_yaml import unshared
from trivium.recipe.schema import Recipe


def with_folders(recipe: Recipe, path: Path) -> Recipe:
    """The recipe of a file, its folders absolute. Relative ones start at the file's folder, or
    else at the working directory. Raises RecipeError where there is no folder of data.
    """
    home = path.parent
    changes: dict[str, Any] = {"data": _data(recipe, path)}
    if recipe.encoder != "minilm" and Path(folder := _near(home, recipe.encoder)).is_dir():
        changes["encoder"] = folder
    if recipe.start is not None:
        changes["start"] = _near(home, recipe.start, otherwise=-1)
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
    return recipe.model_copy(update=changes)


def _data(recipe: Recipe, path: Path) -> str:
    data = Path(recipe.data).expanduser()
    choices = [path.parent / data, Path.cwd() / data]
    found = next((folder for folder in choices if folder.is_dir()), None)
    if found is None:
        tried = " or ".join(dict.fromkeys(str(folder.resolve()) for folder in choices))
        raise RecipeError(f"{path}: data: no folder {tried}.")
    return str(found.resolve())


def _near(home: Path, folder: str, otherwise: int = 0) -> str:
    """A folder named in a recipe: from the recipe's own, or else from the working directory.

    otherwise: which of the two, where neither is there.
    """
    choices = [home / Path(folder).expanduser(), Path(folder).expanduser()]
    return str(next((path for path in choices if _is_there(path)), choices[otherwise]).resolve())


def _is_there(folder: Path) -> bool:
    """Whether a folder, or a recipe's file, exists; of one whose name depends on the seed, the
    folder that holds it."""
    named = [place for place, part in enumerate(folder.parts) if SEED in part]
    return Path(*folder.parts[: named[0]] if named else folder.parts).exists()


def moved(values: dict[str, Any], home: Path) -> dict[str, Any]:
    """A file's values for a file elsewhere: folders beside it made absolute, also in its budgets.

    The values may be no recipe yet, so that folders are only known by where they are named.
    """
    found: dict[str, Any] = unshared({"data": "."} | values)
    _place(found, home)
    _place_budgets(found, home)
    return found


def _place(values: dict[str, Any], home: Path) -> None:
    """Folders that a recipe's settings name beside its file, made absolute, in place."""
    for key in ("data", "encoder"):
        if isinstance(values.get(key), str) and (home / values[key]).is_dir():
            values[key] = str((home / values[key]).resolve())
    if isinstance(start := values.get("start"), str) and _is_there(home / start):
        values["start"] = str((home / start).resolve())
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


def _place_parts(values: dict[str, Any], home: Path) -> None:  # noqa: C901
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
