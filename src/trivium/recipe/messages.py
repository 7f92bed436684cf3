"""A wrong recipe in words: the path as its author wrote it, what was found, what is allowed."""

from collections.abc import Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from trivium.errors import did_you_mean
from trivium.recipe.schema import Recipe


def problem(item: ErrorDetails) -> str:
    """One line for one of pydantic's problems."""
    place, model = _walk(item["loc"])
    dotted = ".".join(str(key) for key in place)
    kind, context = item["type"], item.get("ctx", {})
    if kind == "extra_forbidden":
        fields = [name for name in (model.model_fields if model else {}) if name != "kind"]
        return f"{dotted}: no such setting{did_you_mean(place[-1], fields)}"
    if kind == "union_tag_invalid":
        kinds = [tag.strip(" '") for tag in str(context["expected_tags"]).split(",")]
        return f"{dotted}: no such kind {context['tag']!r}{did_you_mean(context['tag'], kinds)}"
    if kind == "union_tag_not_found":
        return f"{dotted}: says no `kind`"
    if kind == "missing":
        return f"{dotted}: is missing"
    message = str(item["msg"]).removeprefix("Value error, ")
    if kind == "value_error":
        return f"{dotted}: {message}" if dotted else message
    found = repr(item["input"])
    found = found if len(found) < 80 else found[:77] + "..."
    return f"{dotted}: {message[:1].lower()}{message[1:]}, found {found}"


def _walk(location: Sequence[str | int]) -> tuple[list[str | int], type[BaseModel] | None]:
    """The path without the tags that pydantic adds for unions, and the innermost part."""
    place: list[str | int] = []
    here: Any = Recipe
    model: type[BaseModel] | None = Recipe
    for key in location:
        choices = _choices(here)
        tagged = next((c for c in choices if _kind(c) == key), None)
        if tagged is not None and len(choices) > 1:
            here = model = tagged  # a tag, not a key of the recipe
            continue
        place.append(key)
        here = _inside(choices, key)
        if parts := [c for c in _choices(here) if _is_part(c)]:
            model = parts[0] if len(parts) == 1 else None
    return place, model


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
