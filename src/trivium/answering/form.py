"""Form: all that rows and answers of a trained task need, and that a machine without torch can
know."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from trivium.answering.says import AnySays
from trivium.errors import RecipeError, did_you_mean
from trivium.part import Part
from trivium.text.cutting import Cut
from trivium.text.lines import is_delimited
from trivium.text.tables import Table, open_table


class Form(Part):
    """A trained task as data: which columns it reads, how long its texts may be, what it says."""

    name: str
    kind: str
    """Of the task, as in a recipe."""
    text: tuple[str, ...] = Field(min_length=1, max_length=2)
    """Columns of its text, or of its pair."""
    apart: bool
    """Whether the two texts of a pair are encoded each by itself."""
    max_length: int
    """Word pieces of a sequence, special ones included."""
    cut: Cut = "head"
    """What is kept of a text that is too long."""
    own: bool = False
    """Whether the encoder reads texts for this task in a way of its own, so that no other task can
    share the pass."""
    says: AnySays | None = None
    """None of a task that is only there to be trained."""
    delimiter: str | None = None
    quoting: Literal["standard", "none"] = "standard"

    @property
    def is_pair(self) -> bool:
        return len(self.text) == 2

    @property
    def sequences(self) -> int:
        """Encoded sequences per row, S."""
        return 2 if self.apart else 1

    def open_table(self, path: str | Path, needed: Sequence[str]) -> Table:
        """A file of its rows, which must have these columns. Raises RecipeError."""
        table = open_table(path, delimiter=self.delimiter, quoting=self.quoting)
        refuse_missing(table, needed, f"task {self.name!r}")
        return table


def open_for(forms: Iterable[Form], path: str | Path, remedy: str) -> Table:
    """A table as all of these tasks read theirs. Raises RecipeError, with the remedy where they
    read it in different ways."""
    ways = dict.fromkeys((form.delimiter, form.quoting) for form in forms)
    if len(ways) > 1 and is_delimited(path):
        raise RecipeError(
            f"{path}: the tasks read their tables in different ways (`delimiter`, `quoting`); "
            f"{remedy}"
        )
    if len(ways) != 1:
        return open_table(path)
    ((delimiter, quoting),) = ways
    return open_table(path, delimiter=delimiter, quoting=quoting)


def refuse_missing(table: Table, needed: Sequence[str], who: str) -> None:
    """Raises RecipeError for a column that the table lacks. who: needs it, in words."""
    for column in needed:
        if column not in table.columns:
            raise RecipeError(
                f"{who}: {table.name}: no column {column!r}"
                f"{did_you_mean(column, table.columns)}. It was read as {table.dialect}."
            )


def forms_named(
    tasks: str | Iterable[str], forms: Mapping[str, Form], where: str = "tasks"
) -> dict[str, Form]:
    """Tasks that have answers, one or several. where: they are named. Raises RecipeError."""
    if not isinstance(tasks, Iterable):
        raise RecipeError(
            f"{where}: must be names of tasks, found {tasks!r}; there are "
            f"{', '.join(map(repr, forms))}."
        )
    found: dict[str, Form] = {}
    for name in [tasks] if isinstance(tasks, str) else tasks:
        form = form_named(name, forms)
        if name in found:
            raise RecipeError(f"{where}: names {name!r} twice; name it once.")
        found[name] = form
    if not found:
        raise RecipeError(f"{where}: names no task.")
    return found


def form_named(name: str, forms: Mapping[str, Form]) -> Form:
    """A task that has answers. Raises RecipeError for another name, or a task without any."""
    if not isinstance(name, str):
        raise RecipeError(f"task: must be the name of one task, found {name!r}.")
    if name not in forms:
        raise RecipeError(f"no task {name!r} in this model{did_you_mean(name, forms)}.")
    if forms[name].says is None:
        others = [repr(other) for other, form in forms.items() if form.says is not None]
        hint = f"ask {' or '.join(others)}" if others else "no other task of this model has any"
        raise RecipeError(f"task {name!r} practises reading and has no answers to give; {hint}.")
    return forms[name]
