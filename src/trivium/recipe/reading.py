"""What a recipe's file says, with what it extends."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trivium.errors import RecipeError
from trivium.recipe.budget import NOTES
from trivium.recipe.dotted import put
from trivium.recipe.ensembles import KEY as ENSEMBLE
from trivium.recipe.folders import moved
from trivium.recipe.given import Given, take
from trivium.recipe.plain_yaml import unshared


def settings_and_notes(given: Given) -> tuple[dict[str, Any], dict[str, Any]]:
    """A recipe file's settings, its search among them, and what it says of them.

    Both are copies, to be changed at will. Raises RecipeError.
    """
    values = whole(given)
    notes = {name: values.pop(name) for name in NOTES if name in values}
    return values, notes


def whole(given: Given, heirs: Sequence[Path] = ()) -> dict[str, Any]:
    """All that a recipe's file says; one that `extends` another holds only what it changes."""
    path = given.path
    values: dict[str, Any] = unshared(given.values)
    if ENSEMBLE in values:
        raise RecipeError(
            f"{path}: is the recipe of an ensemble, which is not trained itself: `trivium study` "
            "makes it of the runs of its members' recipes, `trivium ensemble` of runs that you name"
        )
    if "extends" not in values:
        return values
    _refuse_malformed(values, path)
    heirs = (*heirs, path) if given.is_file else heirs
    source = path.parent / values["extends"]
    if source.resolve() in (heir.resolve() for heir in heirs):
        raise RecipeError(f"{path}: extends: {values['extends']} extends this recipe in turn.")
    if not source.is_file():
        raise RecipeError(f"{path}: extends: no recipe {source}.")
    found = moved(whole(take(source), heirs), source.parent)
    found.pop("reported", None)  # what was reported of the base says nothing of its heirs
    if "reported" in values:
        found["reported"] = values["reported"]
    if isinstance(own := values.get("budgets"), dict):
        found["budgets"] = (found.get("budgets") or {}) | own
    elif "budgets" in values:
        found["budgets"] = own
    if "preset" in values:
        found["preset"] = values["preset"]
    for dotted, value in values.get("set", {}).items():
        put(found, str(dotted), value, f"{path}: set: {dotted}")
    return found


def _refuse_malformed(values: dict[str, Any], path: Path) -> None:
    """RecipeError where a recipe that extends another holds more than its changes and notes."""
    if more := sorted(map(str, set(values) - {"extends", "set", *NOTES})):
        raise RecipeError(
            f"{path}: {more[0]}: a recipe that extends another says its changes under `set`, as "
            "dotted.path: value, such as `stages.0.epochs: 1`; only `reported`, `budgets` and "
            "`preset` may stand beside it."
        )
    if not isinstance(values["extends"], str) or not isinstance(values.get("set", {}), dict):
        raise RecipeError(
            f"{path}: `extends` names a recipe file, and `set` is a table of dotted.path: value."
        )
