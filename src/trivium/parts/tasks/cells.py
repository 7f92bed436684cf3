"""What stands in a label column, and which spellings are one label.

A label is spelt as the file spells it: `02116`, `1E2` and `001` are not 2116, 100 and 1. There is
one exception: where a column holds plain decimals only (such as 2, -3 or 4.5: no zero, plus or
exponent before or after that need not be there), a whole number with nothing but zeros after its
point is that number, since Parquet and pandas write 1 as 1.0 where a cell of the column is empty.

A cell that is none of the labels is read as the one that is the same number, if only one is.
"""

import ast
import json
import re
import warnings
from collections.abc import Iterable, Mapping

from trivium.jsons import shown

_PLAIN = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
_WHOLE = re.compile(r"(-?[0-9]+)\.0+")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")


def spellings(labels: Iterable[str]) -> dict[str, str]:
    """Each label of a column, without surrounding space -> what it is called (see above)."""
    found = dict.fromkeys(label.strip() for label in labels)
    if not all(_PLAIN.fullmatch(label) for label in found):
        return {label: label for label in found}
    return {label: _whole(label) for label in found}


def in_order(labels: Mapping[str, str]) -> list[tuple[str, str]]:
    """What is called how, and its name in answers, in the order of a model's outputs. Equal where
    two tasks' outputs mean the same, which tables are in any order."""
    spelt = spellings(labels)
    return [(spelt[label.strip()], name) for label, name in labels.items()]


def _whole(number: str) -> str:
    match = _WHOLE.fullmatch(number)
    plain = match[1] if match else number
    return "0" if plain == "-0" else plain


def misnamed(labels: Mapping[str, str]) -> str | None:
    """What keeps labels, with their names, from being told apart; None where nothing does."""
    if len(set(labels.values())) < len(labels):
        return "gives the same name to two labels"
    if unnamed := [label for label, name in labels.items() if not name.strip()]:
        return (
            f"gives {unnamed[0]!r} an empty name, which is no answer; name it, or leave its rows "
            "out (relabel)"
        )
    if len({label.strip() for label in labels}) < len(labels):
        return "names a label twice, but for the space around it"
    if len(set(spellings(labels).values())) < len(labels):
        return "holds the same number twice, written in two ways"
    return None


class Known:
    """Labels, found by what stands in a cell."""

    def __init__(self, labels: Iterable[str]) -> None:
        self._own: dict[str, str] = {}
        numbers: dict[float, list[str]] = {}
        for label in labels:
            self._own[label.strip()] = label
            if (number := _number(label)) is not None:
                numbers.setdefault(number, []).append(label)
        self._numbers = {number: same[0] for number, same in numbers.items() if len(same) == 1}

    def find(self, cell: str) -> str | None:
        """The label that a cell means, as it was given; None for a stranger."""
        found = self._own.get(cell.strip())
        if found is None and (number := _number(cell)) is not None:
            found = self._numbers.get(number)
        return found


def _number(cell: str) -> float | None:
    cell = cell.strip()
    if not _NUMBER.fullmatch(cell):
        return None
    number = float(cell)
    # Beyond 2**53 different whole numbers would become one.
    return number if abs(number) < 2**53 else None


def as_text(value: object) -> str:
    """A YAML value as it stands in a table's cell. Raises ValueError."""
    if value is None:
        raise ValueError("holds an empty label; put null in quotes if it is the label's name")
    if isinstance(value, list | tuple | dict | set):
        raise ValueError(f"holds {shown(value)}, which is no label; a label is a word or a number")
    return str(value).lower() if isinstance(value, bool) else str(value)


def listed(cell: str) -> list[str] | None:
    """The labels of a list that is written as text, in JSON or as Python prints it; None where the
    cell is no such list."""
    text = cell.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return None
    for read in (_from_json, _from_python):
        try:
            values = read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(values, list) and all(isinstance(v, str | int | float) for v in values):
            return [as_text(value) for value in values]
    return None


def _from_json(text: str) -> object:
    return json.loads(text, parse_int=str, parse_float=str)


def _from_python(text: str) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a backslash that escapes nothing
        return ast.literal_eval(text)
