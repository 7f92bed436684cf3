"""`trivium embed`: every row of a table as the encoder's vector, in constant memory."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from rich.console import Console

from trivium.answering.form import open_for
from trivium.answering.rows import answering
from trivium.answering.says import Floats
from trivium.errors import RecipeError, did_you_mean
from trivium.run.predictor.base import Predictor
from trivium.run.predictor.load import load
from trivium.run.predictor.streaming import alone_at, batched, good_rows
from trivium.run.screen.progress import counting
from trivium.text.copying import copying
from trivium.text.parquet import vector_type
from trivium.text.tables import Table
from trivium.text.writing import replacing, write_table
from trivium.types import Row

ROWS_AT_ONCE = 4096
COLUMN = "embedding"
"""Of the vectors, in a table."""
ENDINGS = (".npy", ".jsonl", ".parquet")

_Put = Callable[[Sequence[Row], Floats], None]


def embed_file(
    run: str | Path | Predictor,
    source: str | Path,
    target: str | Path,
    *,
    column: str | None = None,
    normalize: bool = True,
    overwrite: bool = False,
    precision: str = "auto",
    device: str = "auto",
    backend: str = "auto",
    console: Console | None = None,
) -> int:
    """The shared encoder's vector of every row of a table, into a file; the number of rows.

    target: .npy, an array vector_BD in fp32 whose rows are the table's; or .jsonl or .parquet, the
    table's own columns and `embedding`. column: of the texts; by default the one that the model's
    tasks read, where there is one in the table. normalize: vectors of length 1, as
    `Predictor.embed` and a server's `/v1/embeddings` give them. The table is read as the tasks that
    read the column read theirs (`delimiter`, `quoting`). A file that is there is replaced only with
    `overwrite`. Raises RecipeError, before the target is touched.

        messages = "recipes/data/support-desk/messages-dev.csv"
        trivium.embed_file("runs/first", messages, "vectors.npy", column="message")
    """
    kind = Path(target).suffix.lower()
    if kind not in ENDINGS:
        raise RecipeError(f"{target}: vectors are written as {', '.join(ENDINGS)}; rename it so.")
    with alone_at(source, target, overwrite=overwrite):
        how = {"precision": precision, "device": device, "backend": backend}
        model = run if isinstance(run, Predictor) else load(run, **how)
        table = _opened(model, source, column)
        chosen = _column(model, table, column)
        width = model.embed(["a"]).shape[1]
        writing = _array(target, width) if kind == ".npy" else _table(target, table, kind)
        rows = 0
        with writing as put, counting(console, "embedding") as count:
            for part in batched(good_rows(table), ROWS_AT_ONCE):
                texts = [row.cells[chosen] for row in part]
                put(part, model.embed(texts, normalize=normalize))
                rows += len(part)
                count(rows)
        return rows


def _opened(model: Predictor, source: str | Path, column: str | None) -> Table:
    """The table as those tasks read theirs that read the column, or else as all do."""
    forms = [*(answering(model.forms) or model.forms).values()]
    if column is None:
        return open_for(forms, source, "say which column holds the texts: --column NAME.")
    readers = [form for form in forms if column in form.text]
    remedy = "save it as .jsonl or .parquet, which everybody reads alike."
    return open_for(readers or forms, source, remedy)


def _column(model: Predictor, table: Table, column: str | None) -> str:
    """The column of the texts. Raises RecipeError."""
    if column is not None:
        if column not in table.columns:
            hint = did_you_mean(column, table.columns)
            raise RecipeError(f"{table.name}: no column {column!r}{hint}.")
        return column
    read = dict.fromkeys(name for form in model.forms.values() for name in form.text)
    there = [name for name in read if name in table.columns]
    if len(there) != 1:
        found = " and ".join(map(repr, there)) or "none"
        raise RecipeError(
            f"{table.name}: of the columns that the model reads it has {found}; say which holds "
            f"the texts: --column NAME. It has {', '.join(map(repr, table.columns))}."
        )
    return there[0]


@contextmanager
def _array(target: str | Path, width: int) -> Iterator[_Put]:
    rows = 0

    with replacing(target) as stream:
        _head(stream, 0, width)

        def put(_part: Sequence[Row], vector_BD: Floats) -> None:
            nonlocal rows
            stream.write(np.ascontiguousarray(vector_BD, dtype="<f4").tobytes())
            rows += len(vector_BD)

        yield put
        stream.seek(0)  # NumPy leaves room for any number of rows
        _head(stream, rows, width)
        stream.seek(0, os.SEEK_END)


def _head(stream: BinaryIO, rows: int, width: int) -> None:
    facts = {"descr": "<f4", "fortran_order": False, "shape": (rows, width)}
    np.lib.format.write_array_header_1_0(stream, facts)


@contextmanager
def _table(target: str | Path, table: Table, kind: str) -> Iterator[_Put]:
    if COLUMN in table.columns:
        raise RecipeError(f"{table.name}: already has a column {COLUMN!r}; rename it.")
    copied = copying(table, target)
    types = {**copied.types, COLUMN: vector_type()} if kind == ".parquet" else copied.types
    with write_table(target, [*table.columns, COLUMN], types) as out:

        def put(part: Sequence[Row], vector_BD: Floats) -> None:
            for row, vector in zip(part, vector_BD.tolist(), strict=True):
                out.write([*copied.values(row), vector])

        yield put
