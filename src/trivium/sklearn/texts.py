"""What scikit-learn hands an estimator, as rows of texts."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trivium.errors import RecipeError
from trivium.text.frames import columns_of, index_of, is_frame, is_missing, names_of, values_of

NAMES = "feature_names_in_"

Rows = list[tuple[str, ...]]
"""Of each row its text, or its pair of texts."""


def rows_of(X: Any, width: int | None = None) -> Rows:
    """The rows of a list, an array, a Series, or a DataFrame with one column of texts or two.

    width: how many texts a row must have; None: one or two. Raises RecipeError (a ValueError),
    which names the row of what is no text.
    """
    if isinstance(X, (str, bytes)):
        raise RecipeError("X: must be a list of texts, not a single one; write [text].")
    index = index_of(X)
    rows = [_row(value) for value in _values(X)]
    if not rows:
        raise RecipeError("X: holds no rows; found array with 0 sample(s).")
    width = width or len(rows[0])
    if width > 2:
        raise RecipeError(f"X: a row is a text or a pair of texts; found {width} columns.")
    for number, row in enumerate(rows):
        if len(row) != width or not all(isinstance(text, str) for text in row):
            wanted = "a pair of texts" if width == 2 else "a text"
            called = f" (index {index[number]!r})" if index is not None else ""
            empty = any(map(is_missing, row))
            found = "an empty cell" if empty else repr(row[0] if len(row) == 1 else row)[:80]
            raise RecipeError(f"X: row {number}{called} must be {wanted}, found {found}.")
    return [tuple(str(text) for text in row) for row in rows]


def columns_seen(X: Any, rows: Rows) -> dict[str, Any]:
    """What a fit remembers of X's columns, as scikit-learn calls it: how many there are, and of a
    DataFrame what they are called."""
    names = _names(X)
    return {"n_features_in_": len(rows[0])} | ({} if names is None else {NAMES: names})


def refuse_other_columns(X: Any, fitted: NDArray[Any] | None) -> None:
    """Refuse a DataFrame whose columns have not the names of those that were fitted, or another
    order: texts would be taken for each other. Raises RecipeError."""
    names = _names(X)
    if fitted is None or names is None or names.tolist() == fitted.tolist():
        return
    wanted, found = fitted.tolist(), names.tolist()
    what = f"Give it X[{wanted}]." if set(wanted) <= set(found) else "Rename them."
    raise RecipeError(
        f"X: its columns must have the names that they had in fit, in that order: {wanted}; found "
        f"{_shortly(found)}. {what}"
    )


def _names(X: Any) -> NDArray[Any] | None:
    """The names of a DataFrame's columns, where all of them are strings."""
    names = names_of(X)
    if names is None or not all(isinstance(name, str) for name in names):
        return None
    return np.array(names, dtype=object)


def _shortly(names: list[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{names[:most]}{more}"


def _values(X: Any) -> list[Any]:
    if is_frame(X):
        return list(zip(*columns_of(X, "X").values(), strict=True))
    if not hasattr(X, "__iter__"):
        raise RecipeError(f"X: must be a list of texts, found {type(X).__name__}.")
    return values_of(X)


def _row(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)
