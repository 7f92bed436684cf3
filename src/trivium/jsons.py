"""JSON files that others may have written: bounded, and wrong ones in one line."""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trivium.errors import RecipeError

MOST_BYTES = 64 * 2**20
"""Of a file. A tokenizer's, the largest, has a few MiB."""
SHOWN = 60


def read_json(path: Path) -> Any:
    """What a file holds. Raises RecipeError, and FileNotFoundError where there is none."""
    if (size := path.stat().st_size) > MOST_BYTES:
        raise RecipeError(
            f"{path}: has {size >> 20:,} MiB, more than the {MOST_BYTES >> 20} that any such file "
            "needs. It is damaged, or no file of a model."
        )
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path}: cannot be read as JSON: {error}") from error
    except RecursionError:
        raise RecipeError(
            f"{path}: cannot be read as JSON: lists or tables stand too deep inside one another"
        ) from None


def read_object(path: Path) -> dict[str, Any]:
    """As `read_json`, of a file that holds one object."""
    found = read_json(path)
    if not isinstance(found, dict):
        raise RecipeError(f"{path}: holds {type(found).__name__}, not an object.")
    return found


def first_problem(error: ValidationError) -> str:
    """What is wrong with the values of a file, in one line."""
    first, more = error.errors()[0], error.error_count() - 1
    place = ".".join(shown(key).strip("'") for key in first["loc"])
    message = first["msg"].removeprefix("Value error, ").splitlines()[0][: 4 * SHOWN]
    found = "" if first["type"] == "missing" else f", found {shown(first['input'])}"
    return f"{place}{': ' if place else ''}{message}{found}" + (f" (+{more} more)" if more else "")


def shown(value: object) -> str:
    """A strange value in a message: its start."""
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**50 else "a huge number"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
