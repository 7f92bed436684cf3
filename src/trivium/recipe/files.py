"""Recipes from YAML files, with changes by dotted path; and back to YAML."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from trivium.errors import RecipeError
from trivium.recipe.messages import problem
from trivium.recipe.schema import Recipe


def load_recipe(path: str | Path, changes: Sequence[str] = ()) -> Recipe:
    """The recipe in a YAML file, with `dotted.path=value` changes, checked.

    Relative `data` and `encoder` folders are made absolute, so that the recipe means the same
    elsewhere. Raises RecipeError.
    """
    path = Path(path)
    values = read_yaml(path)
    for change in changes:
        _apply(values, change)
    recipe = parse_recipe(values, str(path))
    return recipe.model_copy(update=_absolute(recipe, path))


def parse_recipe(values: Mapping[str, Any], where: str = "recipe") -> Recipe:
    """Values to a Recipe; RecipeError with one line per problem."""
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        # Where a list's items are wrong, pydantic adds that the list is too short: no news.
        items = [item for item in error.errors() if item["type"] != "too_short"]
        lines = [problem(item) for item in items or error.errors()]
        raise RecipeError("\n".join(f"{where}: {line}" for line in lines)) from error


def dump_recipe(recipe: Recipe) -> str:
    """The whole recipe as YAML, every setting written out."""
    values = recipe.model_dump(mode="json", exclude={"tasks": {"__all__": {"name"}}})
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)


class _Loader(yaml.SafeLoader):
    """Plain data only; `yes`, `no`, `on`, `off` are words; a key twice is an error."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if tag != "tag:yaml.org,2002:bool"]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
# YAML 1.1 reads 5e-5 as text, since its floats need a point.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = key_node.value
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} stands here twice", key_node.start_mark
            )
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such recipe.") from None
    except IsADirectoryError:
        raise RecipeError(f"{path}: is a folder; name the recipe's YAML file.") from None
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: is not UTF-8 text (byte {error.start}).") from None
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}.") from None
    try:
        values = yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise RecipeError(f"{path}{line}: not plain YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise RecipeError(f"{path}: not plain YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(values, dict):
        found = "empty" if values is None else f"a {type(values).__name__}"
        raise RecipeError(
            f"{path}: a recipe is a table of settings (encoder, data, tasks, stages); this is {found}."
        )
    return values


def _apply(values: dict[str, Any], change: str) -> None:
    """`stages.0.epochs=1` into nested values; the value is read as YAML."""
    dotted, equals, text = change.partition("=")
    if not equals or not dotted:
        raise RecipeError(f"--set {change}: write dotted.path=value, such as stages.0.epochs=1.")
    try:
        value = yaml.load(text, _Loader)
    except yaml.YAMLError:
        raise RecipeError(f"--set {change}: {text!r} is not a YAML value.") from None
    *parents, last = dotted.split(".")
    place: Any = values
    for done, key in enumerate(parents):
        if isinstance(place, dict):
            if isinstance(place.get(key), str) and done > 0:  # a plain word is short for its kind
                place[key] = {"kind": place[key]}
            place = place.setdefault(key, {})
        else:
            place = _item(place, key, change)
    if isinstance(place, dict):
        place[last] = value
    elif isinstance(place, list):
        _item(place, last, change)
        place[int(last)] = value
    else:
        raise RecipeError(f"--set {change}: {'.'.join(parents)} is a single value, not a table.")


def _item(place: Any, key: str, change: str) -> Any:
    if not isinstance(place, list):
        raise RecipeError(f"--set {change}: there is no table at {key!r}.")
    if not key.isdigit() or int(key) >= len(place):
        raise RecipeError(
            f"--set {change}: {key!r} is not one of 0…{len(place) - 1}, the list's items."
        )
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
    if recipe.encoder != "minilm":
        for folder in (home / Path(recipe.encoder).expanduser(), Path(recipe.encoder).expanduser()):
            if folder.is_dir():
                changes["encoder"] = str(folder.resolve())
                break
    return changes
