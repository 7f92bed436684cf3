"""Tables that Python holds, lent for a look: read as files are, and nothing is left of them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from trivium.errors import RecipeError
from trivium.parts.tasks import Task
from trivium.recipe.given import AnyRecipe, Given
from trivium.run.folder.given import Held, Tables, Written, as_files, by_task, hold, of_tables
from trivium.run.rows.load import read_split
from trivium.run.rows.splits import Data, Split

PLAIN = "table"
"""What the rows of a task are called, whose table is given without the name of a split."""


@contextmanager
def lent(recipe: AnyRecipe | Given, tables: Tables | None) -> Iterator[Held]:
    """A recipe with its tables, as files that are there until the end of the block."""
    if not by_task(tables):
        yield Held(recipe, Path())
        return
    with TemporaryDirectory(prefix="trivium-") as home:
        held = hold(recipe, tables, Path(home))
        with held.told(), held.kept(Path(home), writes=True):
            yield held


def called_so(data: Data, tables: Sequence[Written]) -> Data:
    """The same rows, whose files are called as the tables that they were."""
    names = {str(table.path): table.called for table in tables}
    return {
        task: {name: _renamed(split, names) for name, split in splits.items()}
        for task, splits in data.items()
    }


def rows_of(tables: Tables, tasks: Mapping[str, Task]) -> Data:
    """The labelled rows of tables, by task and split. Raises RecipeError, which names table and
    row."""
    reads = {name: task.text_columns for name, task in tasks.items()}
    data: Data = {}
    with TemporaryDirectory(prefix="trivium-") as home:
        held = as_files(tables, reads, Path(home))
        written = [one for each in held.values() for one in each.values()]
        for one in written:
            one.path.write_bytes(one.content)
        try:
            for name, splits in held.items():
                data[name] = dict(_rows(tasks[name], split, one) for split, one in splits.items())
        except RecipeError as error:
            raise RecipeError(of_tables(str(error), written)) from error
    return called_so(data, written)


def _rows(task: Task, split: str, table: Written) -> tuple[str, Split]:
    """What the rows are called, and the rows."""
    rows = read_split(task, split if table.has_split else PLAIN, table.path)
    if not rows.examples:
        raise RecipeError(f"{table.called}: has no labelled rows for task {task.name!r}.")
    return rows.name, rows


def _renamed(split: Split, names: Mapping[str, str]) -> Split:
    files = tuple(
        replace(file, table=replace(file.table, name=names[file.table.name]), is_held=True)
        if file.table.name in names
        else file
        for file in split.files
    )
    return replace(split, files=files)
