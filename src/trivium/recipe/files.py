"""Recipes from YAML files, with changes by dotted path; and back to YAML."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from trivium.errors import RecipeError
from trivium.parts.adapters import LoRA
from trivium.parts.regularizers import Distill
from trivium.recipe.messages import problems
from trivium.recipe.schema import Recipe


def load_recipe(path: str | Path, changes: Sequence[str] = ()) -> Recipe:
    """The recipe in a YAML file, with `dotted.path=value` changes, checked.

    Relative `data` and `encoder` folders are made absolute, so that the recipe means the same
    elsewhere. Raises RecipeError.
    """
    path = Path(path)
    values = _values(path)
    for change in changes:
        _apply(values, change)
    recipe = parse_recipe(values, str(path))
    return recipe.model_copy(update=_absolute(recipe, path))


def _values(path: Path, heirs: Sequence[Path] = ()) -> dict[str, Any]:
    """A recipe file's settings; one that `extends` another holds only what it changes."""
    values = read_yaml(path)
    if "extends" not in values:
        return values
    if more := sorted(map(str, set(values) - {"extends", "set"})):
        raise RecipeError(
            f"{path}: {more[0]}: a recipe that extends another says its changes under `set`, as "
            f"dotted.path: value, such as `stages.0.epochs: 1`; nothing else stands beside it."
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
    """The recipe of a file with other values at dotted paths, and without its search.

    Folders in them may be relative to the file. The lines of a RecipeError start with the path.
    """
    changed = recipe.model_dump(mode="json", exclude={"search"})
    for dotted, value in values.items():
        _put(changed, dotted, value, dotted)
    found = parse_recipe(changed, "")
    return found.model_copy(update=_absolute(found, path))


def dump_recipe(recipe: Recipe, only: set[str] | None = None) -> str:
    """The whole recipe as YAML, every setting written out; or `only` some of its settings."""
    names = {"tasks": {"__all__": {"name"}}}
    values = recipe.model_dump(mode="json", include=only, exclude=names)
    if recipe.search is None:
        values.pop("search", None)  # a setting of `trivium tune`, not of a run
    text: str = yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text


class _Loader(yaml.SafeLoader):
    """Plain data only: no tags, a key twice is an error, and words stay words (see below)."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        tag = getattr(event, "tag", None)
        if tag not in (None, "!"):
            raise yaml.constructor.ConstructorError(
                None, None, f"a recipe has no use for the tag {tag!r}", event.start_mark
            )
        return super().compose_node(parent, index)


# YAML 1.1 takes yes and on for true, True in a table for true, 010 for 8, 12:30 for 750, = and
# dates for values of their own, and 5e-5 for text. Labels are to be read as they are written.
_Loader.yaml_implicit_resolvers = {
    first: kept
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    if (kept := [rule for rule in rules if rule[0].rpartition(":")[2] in ("null", "merge")])
}
_NUMBER_STARTS = list("-+.0123456789")
for _kind, _pattern, _starts in (
    ("bool", r"true|false", list("tf")),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", _NUMBER_STARTS),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
        r"|[-+]?\.inf|\.nan",
        _NUMBER_STARTS,
    ),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_kind}", re.compile(f"^(?:{_pattern})$"), _starts
    )


class _Dumper(yaml.SafeDumper):
    """Quotes what our loader, or anybody else's, would take for something other than text."""


_Dumper.yaml_implicit_resolvers = {
    first: _Loader.yaml_implicit_resolvers.get(first, [])
    + yaml.SafeDumper.yaml_implicit_resolvers.get(first, [])
    for first in {*_Loader.yaml_implicit_resolvers, *yaml.SafeDumper.yaml_implicit_resolvers}
}


def _text_node(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # Unless escaped, these count as line breaks, which YAML folds.
    style = '"' if any(character in text for character in "\x85\u2028\u2029") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text_node)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key_node, _ in node.value:
        key = key_node.value
        if not isinstance(key, str):
            problem = "a key is one word or number, not a list or a table"
        elif key in seen:
            problem = f"the key {key!r} stands here twice"
        else:
            seen.add(key)
            continue
        raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def _parse(text: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except RecursionError:
        raise yaml.YAMLError("lists or tables stand too deep inside one another") from None


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
        values = _parse(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise RecipeError(f"{path}{line}: not plain YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise RecipeError(f"{path}: not plain YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(values, dict):
        kinds = {list: "a list", type(None): "empty"}
        found = kinds.get(type(values), f"the single value {values!r}")
        raise RecipeError(
            f"{path}: a recipe is a table of settings (encoder, data, tasks, stages); "
            f"this is {found}."
        )
    return values


def _apply(values: dict[str, Any], change: str) -> None:
    """`stages.0.epochs=1` into nested values; the value is read as YAML."""
    dotted, equals, text = change.partition("=")
    if not equals or not dotted:
        raise RecipeError(f"--set {change}: write dotted.path=value, such as stages.0.epochs=1.")
    try:
        value = _parse(text)
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
