"""What scikit-learn hands an estimator, as rows of texts."""

from typing import Any

from trivium.errors import RecipeError
from trivium.text.frames import columns_of, index_of, is_frame, is_missing, values_of

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


def _values(X: Any) -> list[Any]:
    if is_frame(X):
        return list(zip(*columns_of(X, "X").values(), strict=True))
    if not hasattr(X, "__iter__"):
        raise RecipeError(f"X: must be a list of texts, found {type(X).__name__}.")
    return values_of(X)


def _row(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)
