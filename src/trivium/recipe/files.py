"""Recipes from YAML files, with changes by dotted path; and back to YAML."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from trivium.errors import RecipeError, did_you_mean
from trivium.parts.adapters import LoRA
from trivium.parts.regularizers import Distill
from trivium.recipe.budget import ASIDE, FULL
from trivium.recipe.messages import problems
from trivium.recipe.plain_yaml import parse_yaml, read_yaml, write_yaml
from trivium.recipe.schema import Recipe
from trivium.recipe.united import KEY as ENSEMBLE

__all__ = [
    "change_recipe", "check_budgets", "dump_recipe", "load_recipe", "parse_recipe", "read_yaml",
]  # fmt: skip


def load_recipe(path: str | Path, changes: Sequence[str] = (), budget: str = FULL) -> Recipe:
    """The recipe in a YAML file, with a budget and then `dotted.path=value` changes, checked.

    Relative `data` and `encoder` folders are made absolute, so that the recipe means the same
    elsewhere. Raises RecipeError.
    """
    path = Path(path)
    values = _values(path)
    if budget != FULL:
        _spend(values, budget, path)
    for change in changes:
        _apply(values, change)
    recipe = parse_recipe(values, str(path))
    return recipe.model_copy(update=_absolute(recipe, path))


def check_budgets(recipe: Recipe, path: str | Path) -> None:
    """Try every budget of a recipe on its file. Raises RecipeError for the first that fails."""
    for name in recipe.budgets:
        _spend(_values(Path(path)), name, Path(path))


def _spend(values: dict[str, Any], name: str, path: Path) -> None:
    """A recipe's settings with what a budget changes, in place."""
    if name == FULL:
        return
    recipe = parse_recipe(values, str(path))
    if name not in recipe.budgets:
        known = list(dict.fromkeys([FULL, *recipe.budgets]))
        raise RecipeError(f"{path}: has no budget {name!r}{did_you_mean(name, known)}")
    budget, place = recipe.budgets[name], f"{path}: budgets.{name}"
    for dotted, value in budget.changes(recipe.tasks, recipe.stages).items():
        _put(values, dotted, value, place)
    for dotted, value in budget.set.items():
        _put(values, dotted, deepcopy(value), f"{place}.set.{dotted}")
    parse_recipe(values, f"{path}: with the budget {name}")


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
    for key in ("data", "encoder"):  # relative to the file that names them
        if isinstance(found.get(key), str) and (source.parent / found[key]).is_dir():
            found[key] = str((source.parent / found[key]).resolve())
    _place_parts(found, source.parent)
    found.pop("reported", None)  # what was reported of the base says nothing of its heirs
    if "reported" in values:
        found["reported"] = values["reported"]
    if isinstance(own := values.get("budgets"), dict):
        found["budgets"] = (found.get("budgets") or {}) | own
    elif "budgets" in values:
        found["budgets"] = own
    for dotted, value in changes.items():
        _put(found, str(dotted), value, f"{path}: set: {dotted}")
    return found


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
        _put(changed, dotted, value, dotted)
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


def _apply(values: dict[str, Any], change: str) -> None:
    """`stages.0.epochs=1` into nested values; the value is read as YAML."""
    dotted, equals, text = change.partition("=")
    if not equals or not dotted:
        raise RecipeError(f"--set {change}: write dotted.path=value, such as stages.0.epochs=1.")
    try:
        value = parse_yaml(text)
    except yaml.YAMLError:
        raise RecipeError(f"--set {change}: {text!r} is not a YAML value.") from None
    _put(values, dotted, value, f"--set {change}")


def _put(values: dict[str, Any], dotted: str, value: Any, where: str) -> None:
    """Set one place of nested values. where: who asks, for the message when it does not fit."""
    *parents, last = dotted.split(".")
    if parents[:1] == ["stages"] and values.get("stages") is None:
        values["stages"] = [{}]  # left out, it means one stage of defaults
    place: Any = values
    for done, key in enumerate(parents):
        if isinstance(place, dict):
            if isinstance(place.get(key), str) and done > 0:  # a plain word is short for its kind,
                short = "file" if key in ("train", "dev", "test") else "kind"  # or for a file
                place[key] = {short: place[key]}
            if place.get(key) is None:
                place[key] = {}
            place = place[key]
        else:
            place = _item(place, key, where)
    if isinstance(place, dict):
        place[last] = value
    elif isinstance(place, list) and last == str(len(place)):
        place.append(value)  # one more item, such as a second stage
    elif isinstance(place, list):
        _item(place, last, where)
        place[int(last)] = value
    else:
        raise RecipeError(f"{where}: {'.'.join(parents)} is a single value, not a table.")


def _item(place: Any, key: str, where: str) -> Any:
    if not isinstance(place, list):
        raise RecipeError(f"{where}: there is no table at {key!r}.")
    if not key.isdecimal() or int(key) >= len(place):
        raise RecipeError(f"{where}: {key!r} is not one of 0…{len(place) - 1}, the list's items.")
    return place[int(key)]


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
        adapter.model_copy(update={"start": _near(home, adapter.start)})
        if isinstance(adapter, LoRA) and adapter.start is not None
        else adapter
        for adapter in recipe.adapters
    )
    changes["stages"] = tuple(
        stage.model_copy(
            update={
                "regularizers": tuple(
                    part.moved(lambda run: _near(home, run, otherwise=-1))
                    if isinstance(part, Distill)
                    else part
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
    return str(next((path for path in choices if path.is_dir()), choices[otherwise]).resolve())
