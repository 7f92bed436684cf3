"""Settings in nested tables and lists, found and changed by dotted path, as stages.0.epochs."""

from collections.abc import Iterable, Iterator
from typing import Any

import yaml

from trivium.errors import RecipeError
from trivium.recipe.plain_yaml import parse_yaml, unshared

ANY = "*"


def apply(values: dict[str, Any], change: str) -> None:
    """`stages.0.epochs=1` into nested values; the value is read as YAML. Raises RecipeError."""
    dotted, equals, text = change.partition("=")
    if not equals or not dotted:
        raise RecipeError(f"--set {change}: write dotted.path=value, such as stages.0.epochs=1.")
    try:
        value = parse_yaml(text)
    except yaml.YAMLError:
        raise RecipeError(f"--set {change}: {text!r} is not a YAML value.") from None
    put(values, dotted, value, f"--set {change}")


def put(values: dict[str, Any], dotted: str, value: Any, where: str) -> None:
    """Set one place of nested values, or with a `*` in the path several, to a copy of the value.

    where: who asks, for the RecipeError when it does not fit.
    """
    found = places(values, dotted)
    if not found:
        raise RecipeError(f"{where}: no setting that is written in the recipe has this path.")
    for place in found:
        _put(values, place, value, where)


def places(values: dict[str, Any], dotted: str) -> list[list[str]]:
    """The keys of the path; or, for one with `*`, those of every setting it stands for.

    A `*` is any name of a table or any item of a list that has what the path says next, down to
    the last name, which may be new: `tasks.*.head.pooling` is the pooling of every head that is
    written in the recipe.
    """
    keys = dotted.split(".")
    if ANY not in keys:
        return [keys]
    *parents, last = keys
    found = _matches(values, keys if last == ANY else parents)
    return [path if last == ANY else [*path, last] for path in found]


def _matches(place: Any, keys: list[str]) -> Iterator[list[str]]:
    """The ways from a place along the keys that are there."""
    if not keys:
        yield []
        return
    entries = {_word(key): inner for key, inner in _entries(place)}
    for key in entries if keys[0] == ANY else entries.keys() & {keys[0]}:
        yield from ([key, *rest] for rest in _matches(entries[key], keys[1:]))


def _entries(place: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(place, dict):
        return place.items()
    return enumerate(place) if isinstance(place, list) else ()


def _put(values: dict[str, Any], keys: list[str], value: Any, where: str) -> None:
    *parents, last = keys
    if parents[:1] == ["stages"] and values.get("stages") is None:
        values["stages"] = [{}]  # left out, it means one stage of defaults
    place: Any = values
    for done, key in enumerate(parents):
        if isinstance(place, dict):
            key = _own(place, key)
            if isinstance(place.get(key), str) and done > 0:  # a plain word is short for its kind,
                short = "file" if key in ("train", "dev", "test") else "kind"  # or for a file
                place[key] = {short: place[key]}
            elif key in ("dev", "test") and isinstance(place.get(key), int | float) and done > 0:
                place[key] = {"share": place[key]}  # a number is short for one
            if place.get(key) is None:
                place[key] = {}
            place = place[key]
        else:
            place = _item(place, key, where)
    if isinstance(place, dict):
        place[_own(place, last)] = unshared(value)
    elif isinstance(place, list) and last == str(len(place)):
        place.append(unshared(value))  # one more item, such as a second stage
    elif isinstance(place, list):
        _item(place, last, where)
        place[int(last)] = unshared(value)
    else:
        raise RecipeError(f"{where}: {'.'.join(parents)} is a single value, not a table.")


def value_at(values: dict[str, Any], keys: list[str]) -> Any:
    """What stands at a place that is there, such as one that was just put."""
    place: Any = values
    for key in keys:
        place = place[int(key)] if isinstance(place, list) else place[_own(place, key)]
    return place


def _word(key: Any) -> str:
    """A key as a path has it: YAML reads that of `{1: bad, yes: good}` as a number and a truth."""
    return str(key).lower() if isinstance(key, bool) else str(key)


def _own(table: dict[Any, Any], word: str) -> Any:
    """The table's own key that a path means; the word itself, of which a new one is made."""
    if word in table:
        return word
    return next((key for key in table if _word(key) == word), word)


def _item(place: Any, key: str, where: str) -> Any:
    if not isinstance(place, list):
        raise RecipeError(f"{where}: there is no table at {key!r}.")
    if not key.isdecimal() or int(key) >= len(place):
        raise RecipeError(f"{where}: {key!r} is not one of 0…{len(place) - 1}, the list's items.")
    return place[int(key)]
