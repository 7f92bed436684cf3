"""Rows as people have them, texts by column, to what is asked of each task."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from trivium.answering.form import Form, forms_named
from trivium.errors import RecipeError, did_you_mean
from trivium.text.frames import is_frame, rows_of


@dataclass(slots=True)
class Wanted:
    """What rows ask of tasks."""

    texts: dict[str, list[tuple[str, ...]]] = field(default_factory=dict)
    """By task, the texts of each row that it answers."""
    places: dict[str, list[int]] = field(default_factory=dict)
    """By task, which rows these are."""

    def add(self, task: str, row: int, texts: tuple[str, ...]) -> None:
        self.texts.setdefault(task, []).append(texts)
        self.places.setdefault(task, []).append(row)


def asks_of_rows(
    forms: Mapping[str, Form], rows: Sequence[Mapping[str, str]], tasks: Sequence[str] | None
) -> Wanted:
    """What rows ask of the tasks whose columns they have, or of these. Raises RecipeError.

    rows: as `rows_by_column` gives them.
    """
    chosen = forms_named(tasks, forms) if tasks is not None else answering(forms)
    wanted = Wanted()
    for number, row in enumerate(rows):
        asked = chosen if tasks is not None else answered_by(chosen, row)
        if not asked:
            raise RecipeError(f"rows[{number}]: {none_fits(chosen, row)}")
        for name, form in asked.items():
            wanted.add(name, number, _texts(form, row, number))
    return wanted


def rows_by_column(rows: object) -> list[Mapping[str, str]]:
    """Rows as they are meant: a single one is a list of one. Raises RecipeError."""
    if isinstance(rows, Mapping):
        return [rows]
    if is_frame(rows):
        return [*rows_of(rows, "rows")]
    if isinstance(rows, (str, bytes)) or not isinstance(rows, Iterable):
        kind = type(rows).__name__
        raise RecipeError(f"rows: must be a list of tables, texts by column; found {kind}.")
    found = list(rows)
    for number, row in enumerate(found):
        if not isinstance(row, Mapping):
            kind = type(row).__name__
            raise RecipeError(f"rows[{number}]: must be a table, texts by column; found {kind}.")
    return found


def answering(forms: Mapping[str, Form]) -> dict[str, Form]:
    """Those that have answers."""
    return {name: form for name, form in forms.items() if form.says is not None}


def answered_by(forms: Mapping[str, Form], columns: Mapping[str, object]) -> dict[str, Form]:
    """The tasks whose columns are there."""
    return {n: form for n, form in forms.items() if all(c in columns for c in form.text)}


def none_fits(forms: Mapping[str, Form], columns: Mapping[str, object]) -> str:
    """Why no task can answer, in words."""
    if not forms:
        return "answers no task: the model has none that answers."
    known = list(dict.fromkeys(column for form in forms.values() for column in form.text))
    strange = next((column for column in columns if column not in known), None)
    found = f"no column {strange!r}{did_you_mean(strange, known)}" if strange else "columns lack"
    needs = "; ".join(f"{n!r} reads {' and '.join(map(repr, f.text))}" for n, f in forms.items())
    return f"answers no task: {found}. {needs}."


def _texts(form: Form, row: Mapping[str, str], number: int) -> tuple[str, ...]:
    for column in form.text:
        if column not in row:
            raise RecipeError(
                f"rows[{number}]: task {form.name!r} reads column {column!r}, which is missing"
                f"{did_you_mean(column, row)}."
            )
        if not isinstance(row[column], str):
            kind = type(row[column]).__name__
            raise RecipeError(f"rows[{number}].{column}: must be a text, found {kind}.")
    return tuple(row[column] for column in form.text)
