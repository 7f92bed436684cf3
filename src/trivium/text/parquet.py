"""Parquet: cells become the text that JSON lines would have given; `line` is the row's number.

NaN is a missing number, as null is: pandas writes it where a cell of a column of numbers is empty.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from trivium.errors import RecipeError
from trivium.text.frames import shortest
from trivium.text.jsonl import Number, Value, text_of
from trivium.text.lines import Opened, Source, check_columns
from trivium.types import Row

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS = 1024  # bounds what reading keeps in memory beyond one page of each column
_GROUP_ROWS = 10_000  # rows kept in memory until they are written as one row group


def open_parquet(source: Source) -> Opened:
    """RecipeError for a file that is no Parquet, and for columns of lists, structs or bytes."""
    path = source.path
    if path is None or not source.is_file:
        raise RecipeError(f"{source.name}: Parquet cannot be read from a pipe; name a file.")
    pa, _ = _pyarrow(str(path))
    schema = _schema(path)
    for column in schema:
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if pa.types.is_nested(kind) or "binary" in str(kind):
            raise RecipeError(
                f"{path}: column {column.name!r} holds {kind}; a cell is text, a number, a truth "
                "value or null. Drop the column, or turn it into text."
            )
    columns = tuple(schema.names)
    check_columns(columns, source.name)
    return columns, "Parquet", lambda: _rows(path)


def column_types(path: Path) -> "dict[str, pa.DataType]":
    """What a file's columns are, to be written again as the same. Raises RecipeError."""
    pa, _ = _pyarrow(str(path))
    return {
        column.name: column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        for column in _schema(path)
    }


def plain_type(kind: str) -> "pa.DataType":
    """kind: text, int, float or bool."""
    pa, _ = _pyarrow("Parquet")
    return {"int": pa.int64, "float": pa.float64, "bool": pa.bool_}.get(kind, pa.string)()


def _schema(path: Path) -> "pa.Schema":
    pa, pq = _pyarrow(str(path))
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            assert schema.names is not None  # which pyarrow decodes no earlier than here
            return schema
    # A ValueError: of a column's name that is not UTF-8.
    except (pa.ArrowException, OSError, ValueError) as error:
        raise RecipeError(f"{path}: is not a readable Parquet file ({_short(error)}).") from None


def _rows(path: Path) -> Iterator[Row]:
    pa, pq = _pyarrow(str(path))
    line = 0
    try:  # noqa: PLR1702
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_BATCH_ROWS):
                names, columns = batch.schema.names, [_values(each) for each in batch.columns]
                for values in zip(*columns, strict=True):
                    line += 1
                    row = dict(zip(names, values, strict=True))
                    yield Row({name: _text(value) for name, value in row.items()}, line, row)
    # A ValueError: of bytes that are not UTF-8.
    except (pa.ArrowException, OSError, ValueError) as error:
        raise RecipeError(
            f"{path}:{line + 1}: cannot be read from this row on ({_short(error)}). Write the file "
            "again."
        ) from None


def _short(error: Exception) -> str:
    """What the library says, in one line."""
    return " ".join(str(error).split()).rstrip(".")[:300]


def _values(column: "pa.Array") -> list[Any]:
    try:
        values: list[Any] = column.to_pylist()
    except ValueError:  # of bytes that are not UTF-8; or times finer, or further, than Python's
        values = column.cast("string").to_pylist()
    kind = str(column.type)
    return shortest(values, "float32" if kind == "float" else kind)


def _text(value: Any) -> str:
    return "" if isinstance(value, float) and value != value else text_of(value)


@contextmanager
def parquet_rows(
    stream: BinaryIO, columns: Sequence[str], name: str, types: "Mapping[str, pa.DataType]"
) -> Iterator[Callable[[Sequence[Value]], None]]:
    """A function that writes one row; a column's type is the one in `types`, or that of its first
    row group."""
    groups = _RowGroups(stream, columns, name, types)
    try:
        yield groups.add
        groups.finish()
    finally:
        groups.close()


class _RowGroups:
    def __init__(
        self,
        stream: BinaryIO,
        columns: Sequence[str],
        name: str,
        types: "Mapping[str, pa.DataType]",
    ) -> None:
        self._pa, self._pq = _pyarrow(name)
        self._types = types
        self._stream, self._columns, self._name = stream, columns, name
        self._kept: list[Sequence[Value]] = []
        self._writer: Any = None
        self._schema: Any = None

    def add(self, values: Sequence[Value]) -> None:
        self._kept.append(values)
        if len(self._kept) == _GROUP_ROWS:
            self._write_group()

    def finish(self) -> None:
        if self._kept or self._writer is None:
            self._write_group()

    def close(self) -> None:
        # Also after an error: pyarrow would else write to the closed stream later.
        if self._writer is not None:
            self._writer.close()

    def _write_group(self) -> None:
        values = list(zip(*self._kept, strict=True)) or [()] * len(self._columns)
        known = [self._types.get(column) for column in self._columns]
        types = self._schema.types if self._schema else known
        arrays = [self._array(*column) for column in zip(self._columns, values, types, strict=True)]
        table = self._pa.Table.from_arrays(arrays, names=list(self._columns))
        if self._writer is None:
            self._schema = table.schema
            self._writer = self._pq.ParquetWriter(self._stream, self._schema)
        self._writer.write_table(table)
        self._kept.clear()

    def _array_of(self, values: list[Any], kind: "pa.DataType | None") -> Any:
        if kind is not None and self._pa.types.is_temporal(kind):
            texts = [value if value is None else str(value) for value in values]
            if any(isinstance(value, str) for value in values):  # which Python has no times for
                return self._pa.array(texts, type=self._pa.string()).cast(kind)
        return self._pa.array(values, type=kind)

    def _array(self, column: str, values: Sequence[Value], kind: "pa.DataType | None") -> Any:
        try:
            plain = [value.value if isinstance(value, Number) else value for value in values]
            array = self._array_of(plain, kind)
        except (self._pa.ArrowException, OverflowError, ValueError) as error:
            raise RecipeError(
                f"{self._name}: column {column!r} cannot be written as Parquet ({_short(error)}). "
                "A column holds either text or numbers; write .jsonl or .tsv to mix them."
            ) from None
        # Nothing but missing cells so far says nothing of the type; text is what most columns hold.
        return array.cast(self._pa.string()) if self._pa.types.is_null(array.type) else array


def vector_type() -> Any:
    """Of a column that holds a vector in each row. Raises RecipeError where pyarrow is missing."""
    pyarrow, _ = _pyarrow("vectors")
    return pyarrow.list_(pyarrow.float32())


def _pyarrow(name: str) -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise RecipeError(
            f"{name}: Parquet needs pyarrow. Run `pip install 'trivium[parquet]'`, or use .jsonl."
        ) from None
    return pyarrow, pyarrow.parquet
