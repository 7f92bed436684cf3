"""What estimators are to learn: classes, weights of them, numbers and their range."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, column_or_1d

from trivium.errors import RecipeError
from trivium.sklearn.texts import Rows
from trivium.text.frames import is_missing


def targets(rows: Rows, y: Any) -> NDArray[Any]:
    """y as an array of one axis, a value for each row. Raises RecipeError."""
    if y is None:
        raise RecipeError("y: is needed to fit, but the target y is None.")
    found: NDArray[Any] = column_or_1d(y, warn=True)
    check_consistent_length(rows, found)
    for number, value in enumerate(found.tolist()):
        if is_missing(value):
            raise RecipeError(f"y: row {number} is empty (None, NaN or NA).")
    return found


def classes_in(y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The classes in order, and each row's place among them. Raises RecipeError."""
    try:
        classes, codes = np.unique(y, return_inverse=True)
    except TypeError:  # text and numbers have no common order
        kinds = {type(value).__name__: value for value in y.tolist()}
        found = ", ".join(f"{kind} (such as {value!r})" for kind, value in kinds.items())
        raise RecipeError(
            f"y: classes must be of one type, found {found}. Make all of them text, or numbers."
        ) from None
    check_classification_targets(y)
    if len(classes) < 2:
        raise RecipeError(
            f"y: needs two classes at least, found one class: {classes.tolist()[0]!r}."
        )
    return classes, codes


def names_of_classes(classes: NDArray[Any]) -> dict[str, str]:
    """What stands for a class in the rows -> its name; its number where it has no name of its own
    that could be told. Raises RecipeError."""
    names = [str(value) for value in classes.tolist()]
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise RecipeError(
                f"y: class {name!a} holds half a surrogate pair (\\ud800 to \\udfff), which "
                "cannot be written. Remove it."
            ) from None
    if len({name.strip() for name in names}) < len(names) or not all(map(str.strip, names)):
        names = [str(code) for code in range(len(names))]
    return {str(code): name for code, name in enumerate(names)}


def weights_of(given: Any, classes: NDArray[Any]) -> Any:
    """The weights of classes as a recipe has them. Raises RecipeError for what is no class, and
    what is no number; whether they fit is the recipe's to say."""
    if not isinstance(given, Mapping):
        return given
    codes = {value: str(code) for code, value in enumerate(classes.tolist())}
    if strange := [value for value in given if value not in codes]:
        raise RecipeError(f"class_weight: {strange[0]!r} is none of {list(codes)}.")
    return {codes[value]: _weight(value, weight) for value, weight in given.items()}


def _weight(value: Any, weight: Any) -> float:
    try:
        return float(weight)
    except (TypeError, ValueError):
        raise RecipeError(
            f"class_weight: the weight of {value!r} must be a number above 0, found {weight!r}. "
            "Leave out classes that are to have 1."
        ) from None


def numbers_in(y: NDArray[Any]) -> NDArray[np.float64]:
    """y as numbers. Raises RecipeError."""
    if np.issubdtype(y.dtype, np.datetime64) or np.issubdtype(
        y.dtype, np.timedelta64
    ):  # which NumPy would give as its nanoseconds
        raise RecipeError(
            f"y: must be numbers, found {y.dtype}. Say which: such as the days since a first one."
        )
    try:
        numbers = np.asarray(y, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"y: must be numbers ({error}).") from None
    if not np.isfinite(numbers).all():
        row = int(np.flatnonzero(~np.isfinite(numbers))[0])
        raise RecipeError(f"y: row {row} is no number (NaN or infinity).")
    return numbers


def range_for(given: Any, numbers: NDArray[np.float64]) -> list[float]:
    """The lowest and the highest answer: those given, or those of the numbers."""
    if given is not None:
        try:
            low, high = (float(end) for end in given)
        except (TypeError, ValueError):
            raise RecipeError(
                f"range: must be two numbers, the lowest answer and the highest; found {given!r}."
            ) from None
        return [low, high]
    low, high = float(numbers.min()), float(numbers.max())
    if low < high:
        return [low, high]
    # Of a constant there would be none; of a large one 0.5 more is the same number.
    wide = max(0.5, abs(low) * 1e-6)
    return [low - wide, high + wide]
