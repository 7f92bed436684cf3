"""JSON arrays (.json): flat objects between brackets; the keys of the first name the columns.

The whole file is in memory while it is read: JSON lines are for what is too large for that.
"""

import json
import re
import shlex
from collections.abc import Iterator
from typing import Any

from trivium.errors import RecipeError
from trivium.text.jsonl import DECODER, flat, row_of
from trivium.text.lines import BadRow, Opened, Source
from trivium.types import Row

_SPACE = re.compile(r"\s*")


def open_array(source: Source) -> Opened:
    """`line` of a row is the line on which its object starts. Raises RecipeError."""
    if not source.is_file:
        raise RecipeError(
            f"{source.name}: a JSON array cannot be read from a pipe; name a file, or convert it "
            "with `jq -c '.[]'` to JSON lines."
        )
    first = next(_elements(source), None)
    if first is None:
        raise RecipeError(f"{source.name}: is an empty array; its first object names the columns.")
    try:
        columns = tuple(flat(first[1]))
    except ValueError as error:
        raise RecipeError(f"{source.name}:{first[0]}: {error}") from None
    if not columns:
        raise RecipeError(f"{source.name}:{first[0]}: is an empty object; its keys name columns.")

    def rows() -> Iterator[Row | BadRow]:
        for line, record in _elements(source):
            try:
                yield row_of(flat(record), line, columns)
            except ValueError as error:
                yield BadRow(line, str(error))

    return columns, f"a JSON array, {source.shown_encoding}", rows


def _elements(source: Source) -> Iterator[tuple[int, Any]]:
    """Each element with the line that it starts on. Raises RecipeError where it is no array."""
    text = "".join(source.again())
    place = _skip(text, 0)
    if text[place : place + 1] != "[":
        raise RecipeError(f"{source.name}: {_no_array(text, source.name)}")
    place, line, counted = _skip(text, place + 1), 1, 0
    while text[place : place + 1] != "]":
        line, counted = line + text.count("\n", counted, place), place
        try:
            value, end = DECODER.raw_decode(text, place)
        except json.JSONDecodeError as error:
            raise RecipeError(
                f"{source.name}:{error.lineno}: is not JSON: {error.msg}, at column {error.colno}."
            ) from None
        except (ValueError, RecursionError) as error:
            said = error if isinstance(error, ValueError) else "is nested too deep."
            raise RecipeError(f"{source.name}:{line}: {said}") from None
        yield line, value
        place = _next(text, _skip(text, end), source.name)
    if text[_skip(text, place + 1) :]:
        raise RecipeError(_more(text, _skip(text, place + 1), source.name))


def _next(text: str, place: int, name: str) -> int:
    """Where the next element starts, or the bracket is; place: behind an element. RecipeError."""
    if text[place : place + 1] == ",":
        following = _skip(text, place + 1)
        if text[following : following + 1] == "]":
            raise RecipeError(
                f"{name}:{_line(text, place)}: is not JSON: there is a `,` after the last object. "
                "Remove it."
            )
        return following
    if text[place : place + 1] != "]":
        raise RecipeError(
            f"{name}:{_line(text, place)}: is not JSON: there is no `,` or `]` after an object. "
            "Was the file cut? JSON lines, an object a line, end in .jsonl."
        )
    return place


def _more(text: str, place: int, name: str) -> str:
    """What stands behind the array, in words."""
    where = f"{name}:{_line(text, place)}: is not JSON: the array has ended,"
    if text[place] == "[":
        return (
            f"{where} and another one begins. Join them with "
            f"`jq -c '.[]' {shlex.quote(name)} > NEW.jsonl`, or leave them files of their own."
        )
    found = text[place:].split("\n", 1)[0]
    return f"{where} and there is more: {found[:40]!r}. Remove it, or move the `]` to the end."


def _line(text: str, place: int) -> int:
    return 1 + text.count("\n", 0, place)


def _skip(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    assert found is not None
    return found.end()


def _no_array(text: str, name: str) -> str:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        several = len(text.splitlines()) > 1 and text.lstrip().startswith("{")
        return "is no JSON array of objects." + (
            " If it has an object a line, let its name end in .jsonl." if several else ""
        )
    lists = [key for key, each in value.items() if isinstance(each, list)] if isinstance(
        value, dict) else []  # fmt: skip
    if not lists:
        return 'is no JSON array of objects: [{"text": ..., "label": ...}, ...].'
    return (
        f"is an object; its rows seem to stand under {lists[0]!r}. Convert it with "
        f"`jq -c {shlex.quote(f'.[{json.dumps(lists[0])}][]')} {shlex.quote(name)} > NEW.jsonl`."
    )
