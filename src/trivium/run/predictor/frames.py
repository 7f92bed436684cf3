"""A DataFrame answered: its own columns, and those that the answers fill."""

from collections.abc import Mapping, Sequence

import numpy as np

from trivium.answering.columns import Detail, told
from trivium.answering.form import Form, forms_named
from trivium.answering.rows import answered_by, answering, none_fits
from trivium.answering.says import Floats
from trivium.errors import RecipeError, did_you_mean
from trivium.run.predictor.explained import Arrays
from trivium.text.frames import (
    TableLike,
    columns_of,
    index_of,
    is_missing,
    refuse_no_frame,
    with_columns,
)

ROWS_AT_ONCE = 4096
"""Distinct rows that are asked about together, so that memory does not grow with the table."""

_NAME = "the table"


def answered_frame(
    forms: Mapping[str, Form],
    arrays: Arrays,
    table: TableLike,
    tasks: str | Sequence[str] | None,
    *,
    detail: Detail,
    prefix: str,
) -> TableLike:
    """A table with the answers in columns of their own: see `Predictor.predict_frame`."""
    if not isinstance(prefix, str):
        raise RecipeError(f"prefix: must be a text, found {type(prefix).__name__}.")
    columns = columns_of(refuse_no_frame(table, _NAME), _NAME)
    chosen = _chosen(forms, columns, tasks)
    detail.refuse_misfit(chosen)
    prefixed = not isinstance(tasks, str)
    nothing = {name: _none_said(form, rows=1) for name, form in chosen.items()}
    example = told(chosen, nothing, detail, prefixed=prefixed)  # refused before the work is done
    asks = {
        name: list(zip(*(_texts(columns[c], c, table) for c in form.text), strict=True))
        for name, form in chosen.items()
    }
    readouts = _readouts(arrays, chosen, asks)
    answers = told(chosen, readouts, detail, prefixed=prefixed)
    added = {f"{prefix}{column}": values for column, values in answers.items()}
    if clash := sorted(set(added) & set(columns)):
        raise RecipeError(
            f"{_NAME}: already has a column {clash[0]!r}; rename it, or put something before the "
            "names of the answers' columns: prefix='new_'"
        )
    return with_columns(table, added, {f"{prefix}{name}": of[0] for name, of in example.items()})


def _chosen(
    forms: Mapping[str, Form], columns: Mapping[str, object], tasks: str | Sequence[str] | None
) -> dict[str, Form]:
    if tasks is None:
        every = answering(forms)
        if not (chosen := answered_by(every, columns)):
            raise RecipeError(f"{_NAME}: {none_fits(every, columns)}")
        return chosen
    chosen = forms_named(tasks, forms)
    for name, form in chosen.items():
        for column in form.text:
            if column not in columns:
                hint = did_you_mean(column, columns)
                raise RecipeError(
                    f"{_NAME}: task {name!r} reads column {column!r}, not there{hint}"
                )
    return chosen


def _texts(values: Sequence[object], column: str, table: TableLike) -> list[str]:
    """A column's cells, all of which must be texts. Raises RecipeError, which names the row."""
    for number, value in enumerate(values):
        if not isinstance(value, str):
            index = index_of(table)
            called = f" (index {index[number]!r})" if index is not None else ""
            found = "is empty" if is_missing(value) else f"holds a {type(value).__name__}"
            fix = "Fill it in, or drop the row" if is_missing(value) else "Make it text"
            raise RecipeError(f"{_NAME}: row {number}{called}: column {column!r} {found}. {fix}.")
    return [str(value) for value in values]


def _readouts(
    arrays: Arrays, forms: Mapping[str, Form], asks: Mapping[str, list[tuple[str, ...]]]
) -> dict[str, Floats]:
    """readout_BK by task; every distinct row is asked about once."""
    rows = len(next(iter(asks.values())))
    known: dict[str, dict[tuple[str, ...], Floats]] = {name: {} for name in forms}
    for start in range(0, rows, ROWS_AT_ONCE):
        part = {name: of[start : start + ROWS_AT_ONCE] for name, of in asks.items()}
        new = {n: [r for r in dict.fromkeys(of) if r not in known[n]] for n, of in part.items()}
        for name, readout_BK in arrays({n: of for n, of in new.items() if of}).items():
            known[name].update(zip(new[name], readout_BK, strict=True))
    return {name: _stacked(forms[name], [known[name][row] for row in asks[name]]) for name in asks}


def _stacked(form: Form, rows: Sequence[Floats]) -> Floats:
    return np.stack(rows) if rows else _none_said(form, rows=0)


def _none_said(form: Form, *, rows: int) -> Floats:
    """readout_BK of so many rows, which says nothing of them: all labels are alike."""
    assert form.says is not None
    outputs = form.says.outputs
    none: Floats = np.full((rows, outputs), 1 / outputs, dtype=np.float32)
    return none
