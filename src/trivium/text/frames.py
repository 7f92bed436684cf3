"""Tables that Python holds: DataFrames of any library, data sets, dictionaries, NumPy's arrays.

None of these libraries is needed: a DataFrame is read, and given back, through Narwhals, which
knows pandas, polars, Arrow and others, and is loaded when one comes.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from trivium.errors import RecipeError

_NARROW = {"float32": np.float32, "float16": np.float16, "halffloat": np.float16}

TableLike = Any
"""A DataFrame (pandas, polars, an Arrow table, …), a `datasets.Dataset`, a list of dictionaries, or
a dictionary of columns."""

KINDS = (
    "a DataFrame (pandas, polars, pyarrow), a datasets.Dataset, a list of dictionaries, or a "
    "dictionary of columns"
)
"""The same, in words."""


def is_frame(value: object) -> bool:
    """Whether it is a DataFrame of any library, or a `datasets.Dataset`."""
    return _is_dataset(value) or _frame(value) is not None


def names_of(table: TableLike) -> list[Any] | None:
    """What a DataFrame or a data set calls its columns, as it does; None of anything else."""
    if _is_dataset(table):
        return list(table.column_names)
    frame = _frame(table)
    return None if frame is None else list(frame.columns)


def columns_of(table: TableLike, where: str) -> dict[str, list[Any]]:
    """A table's columns by name, as Python's own values. Raises RecipeError.

    where: what messages call the table. A key that some of a list's dictionaries lack is None in
    them.
    """
    if isinstance(table, Mapping):
        named = [(column, values_of(values)) for column, values in table.items()]
    elif _is_dataset(table):
        plain = table.with_format(None)
        kinds = {name: getattr(kind, "dtype", "") for name, kind in plain.features.items()}
        named = [(name, shortest(plain[name], kinds[name])) for name in plain.column_names]
    elif (frame := _frame(table)) is not None:
        named = [(column, _of_series(frame.get_column(column))) for column in frame.columns]
    elif isinstance(table, (list, tuple)) and all(isinstance(row, Mapping) for row in table):
        names = dict.fromkeys(column for row in table for column in row)
        named = [(name, [_plain(row.get(name)) for row in table]) for name in names]
    else:
        raise RecipeError(f"{where}: must be {KINDS}; found {type(table).__name__}.")
    columns = {str(name): values for name, values in named}
    _refuse_uneven(columns, len(named), where)
    return columns


def _refuse_uneven(columns: Mapping[str, list[Any]], names: int, where: str) -> None:
    if not columns:
        raise RecipeError(f"{where}: has no columns.")
    if len(columns) < names:
        raise RecipeError(f"{where}: has two columns of one name; rename one.")
    if len({len(values) for values in columns.values()}) > 1:
        lengths = ", ".join(f"{name!r} {len(values):,}" for name, values in columns.items())
        raise RecipeError(f"{where}: its columns have different numbers of rows: {lengths}.")


def rows_of(table: TableLike, where: str) -> list[dict[str, Any]]:
    """A table's rows, values by column. Raises RecipeError."""
    columns = columns_of(table, where)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def values_of(values: Iterable[Any]) -> list[Any]:
    """The values of a list, a Series of any library, or an array, as Python's own; of an array of
    two axes the rows as lists."""
    if isinstance(values, np.ndarray):
        if values.dtype.name in _NARROW:  # as text: the shortest that is the same number
            values = values.astype(str).astype(float)
        found: list[Any] = values.tolist()
        return found
    if isinstance(values, (list, tuple)):
        return [_plain(value) for value in values]
    series = _series(values)
    return _of_series(series) if series is not None else [_plain(value) for value in values]


def shortest(values: Iterable[Any], kind: str) -> list[Any]:
    """A column's values; numbers of fewer than 64 bits as people write them, 0.8 where Python has
    made 0.800000011920929 of it.

    kind: the column's type as Arrow and NumPy call it, such as float32.
    """
    narrow = _NARROW.get(kind)
    if narrow is None:
        return list(values)
    return [v if is_missing(v) else float(str(narrow(v))) for v in values]


def is_missing(value: object) -> bool:
    """None, NaN, or what pandas has in their place."""
    if isinstance(value, float):
        return value != value
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def index_of(table: TableLike) -> list[Any] | None:
    """What a pandas DataFrame calls its rows; None of any other table, and where it only counts
    them."""
    index = getattr(table, "index", None) if _frame(table) is not None else None
    if index is None or callable(index):
        return None
    names = list(index)
    return None if names == list(range(len(names))) else names


def refuse_no_frame(table: TableLike, where: str) -> TableLike:
    """The table. Raises RecipeError for what columns cannot be added to."""
    if not is_frame(table):
        lazy = " Call its `collect()` first." if hasattr(table, "collect") else ""
        other = " Ask about other rows with `answer` or `predict`."
        raise RecipeError(
            f"{where}: must be a DataFrame (pandas, polars, pyarrow) or a datasets.Dataset; found "
            f"{type(table).__name__}.{lazy or other}"
        )
    return table


def with_columns(
    table: TableLike, added: Mapping[str, Sequence[Any]], like: Mapping[str, Any]
) -> TableLike:
    """A DataFrame or data set with more columns, of the same library; pandas' index is kept.

    table: one of these (`refuse_no_frame`); like: of each column a value such as it holds, which
    says its type where there is no row.
    """
    if _is_dataset(table):
        for name, values in added.items():
            typed = list(values) or np.array([like[name]])[:0]
            table = table.add_column(name, typed)
        return table
    import narwhals

    frame = _frame(table)

    backend = frame.implementation
    new = [
        narwhals.new_series(name, list(values) or [like[name]], backend=backend).head(len(values))
        for name, values in added.items()
    ]
    return frame.with_columns(*new).to_native()


# --- of other libraries -------------------------------------------------------------------------


def _is_dataset(value: object) -> bool:
    """Whether it is a data set of the `datasets` library."""
    return all(hasattr(value, name) for name in ("column_names", "with_format", "add_column"))


def _is_ours(value: object) -> bool:
    """Whether no library of DataFrames can have made it."""
    return type(value).__module__.partition(".")[0] in ("builtins", "numpy", "collections")


def _frame(value: object) -> Any:
    """The same DataFrame in Narwhals' words; None of anything else."""
    if _is_ours(value):
        return None
    import narwhals

    try:
        found: Any = narwhals.from_native(value, eager_only=True, pass_through=True)
    except narwhals.exceptions.DuplicateError:
        # Arrow's `columns` are not their names.
        names = [*getattr(value, "column_names", getattr(value, "columns", ()))]
        twice = dict.fromkeys(repr(name) for name in names if names.count(name) > 1)
        raise RecipeError(
            f"the table: has two columns of one name ({', '.join(twice)}); rename one."
        ) from None
    return found if isinstance(found, narwhals.DataFrame) else None


def _series(value: object) -> Any:
    if _is_ours(value):
        return None
    import narwhals

    found: Any = narwhals.from_native(value, series_only=True, pass_through=True)
    return found if isinstance(found, narwhals.Series) else None


def _of_series(series: Any) -> list[Any]:
    """Its values. pandas has no whole numbers beside missing ones: 3.0 there was 3."""
    values = [_plain(value) for value in shortest(series.to_list(), str(series.dtype).lower())]
    known = [value for value in values if not is_missing(value)]
    if len(known) < len(values) and all(isinstance(v, float) and v.is_integer() for v in known):
        return [None if is_missing(value) else int(value) for value in values]
    return values


def _plain(value: Any) -> Any:
    """Without what NumPy, or Arrow, has made of it."""
    if isinstance(value, np.generic):
        return float(str(value)) if value.dtype.name in _NARROW else value.item()
    return value.as_py() if type(value).__module__ == "pyarrow.lib" else value
