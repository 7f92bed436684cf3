"""A wrong recipe in words: the path as its author wrote it, what was found, what is allowed."""

from collections.abc import Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from trivium.errors import did_you_mean
from trivium.recipe.renamed import no_such_setting
from trivium.recipe.schema import Recipe


def problems(items: Sequence[ErrorDetails], root: type[BaseModel] = Recipe) -> list[str]:
    """One line per wrong place of a recipe. root: what kind of recipe."""
    found: dict[tuple[str | int, ...], list[str]] = {}
    inputs: dict[tuple[str | int, ...], str] = {}
    for item in items:
        place, parts = _walk(item["loc"], root)
        said = _said(item, place[-1] if place else "", parts)
        if said not in found.setdefault(place, []):
            found[place].append(said)
        if item["type"] not in _SELF_EXPLAINING:
            inputs[place] = f", found {_shortened(repr(item['input']))}"
    # What pydantic says of a place is no news where something inside it is wrong: that a list of
    # wrong items is too short, or that a table of wrong numbers is no number.
    outer = {place[:end] for place in found for end in range(len(place))}
    return [
        ".".join(map(str, place))
        + (": " if place else "")
        + " or ".join(said)
        + inputs.get(place, "")
        for place, said in found.items()
        if place not in outer
    ]


_SELF_EXPLAINING = [
    "extra_forbidden",
    "union_tag_invalid",
    "union_tag_not_found",
    "missing",
    "value_error",
]
_WORDS = {
    "int_type": "should be a whole number",
    "int_parsing": "should be a whole number",
    "int_from_float": "should be a whole number",
    "float_type": "should be a number",
    "float_parsing": "should be a number",
    "bool_type": "should be true or false",
    "bool_parsing": "should be true or false",
    "string_type": "should be text",
    "tuple_type": "should be a list",
    "dict_type": "should be a table of settings",
    "model_type": "should be a table of settings",
    "model_attributes_type": "should be a table of settings",
    "too_short": "should have {min_length} or more items",
    "too_long": "should have no more than {max_length} items",
}


def _said(item: ErrorDetails, key: str | int, parts: Sequence[type[BaseModel]]) -> str:
    """What is wrong, in words. parts: what could stand at the place, or around it."""
    kind, context = item["type"], item.get("ctx", {})
    if kind == "extra_forbidden":
        fields = [name for part in parts[:1] for name in part.model_fields if name != "kind"]
        return no_such_setting(key, fields)
    if kind == "union_tag_invalid":
        kinds = [tag.strip(" '") for tag in str(context["expected_tags"]).split(",")]
        return f"no such kind {context['tag']!r}{did_you_mean(context['tag'], kinds)}"
    if kind == "union_tag_not_found":
        return f"says no `kind`{did_you_mean('', [_kind(part) for part in parts])}"
    if kind == "missing":
        return "is missing"
    message = str(item["msg"]).removeprefix("Value error, ")
    if kind == "value_error":
        return message
    if kind in _WORDS:
        return _WORDS[kind].format(**context)
    return message[:1].lower() + message[1:]


def _shortened(found: str) -> str:
    return found if len(found) < 80 else found[:77] + "..."


def _walk(
    location: Sequence[str | int], root: type[BaseModel]
) -> tuple[tuple[str | int, ...], Sequence[type[BaseModel]]]:
    """The path without what pydantic adds for unions, and the innermost parts it may mean."""
    place: list[str | int] = []
    here: Any = root
    parts: list[type[BaseModel]] = [root]
    for key in location:
        choices = _choices(here)
        if len(choices) > 1 and (chosen := [c for c in choices if _names(key, c)]):
            here = chosen[0]  # one of a union's members, not a key of the recipe
            parts = chosen if _is_part(here) else parts
            continue
        place.append(key)
        here = _inside(choices, key)
        parts = [choice for choice in _choices(here) if _is_part(choice)] or parts
    return tuple(place), parts


def _names(key: str | int, annotation: Any) -> bool:
    """Whether a step of pydantic's path means this member of a union."""
    if get_origin(annotation) is dict:  # whose values may have validators, told in the name
        return isinstance(key, str) and key.startswith("dict[")
    return key in _tags(annotation)


def _tags(annotation: Any) -> list[Any]:
    """What pydantic may call a union's member: its kind, or its type."""
    name = annotation.__name__ if isinstance(annotation, type) else ""
    return [_kind(annotation), name, str(annotation), str(annotation).replace(" ", "")]


def _choices(annotation: Any) -> list[Any]:
    """The members of a union, or the one type."""
    if get_origin(annotation) is Annotated:
        return _choices(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        members = [_choices(member) for member in get_args(annotation) if member is not NoneType]
        return [choice for member in members for choice in member]
    return [annotation]


def _inside(choices: Sequence[Any], key: str | int) -> Any:
    """The type of what `key` leads to."""
    for choice in choices:
        if _is_part(choice) and key in choice.model_fields:
            return choice.model_fields[key].annotation
        if get_origin(choice) is dict:
            return get_args(choice)[1]
        if get_origin(choice) is tuple:
            return get_args(choice)[0]
    return None


def _is_part(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _kind(annotation: Any) -> Any:
    field = annotation.model_fields.get("kind") if _is_part(annotation) else None
    return field.default if field else None
