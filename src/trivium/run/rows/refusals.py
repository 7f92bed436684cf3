"""What is said where rows of a file cannot be used."""

from collections.abc import Sequence

from trivium.errors import RecipeError
from trivium.parts.tasks import Task
from trivium.text.tables import BadRow, Table

GIVEN = "file"
"""The split of a file that was named beside a trained run: no recipe reads it."""
SHOWN_PROBLEMS = 5


def refuse_bad_rows(task: Task, split: str, table: Table, bad: Sequence[BadRow]) -> None:
    """RecipeError naming the first of them by file and line, unless they are to be skipped."""
    if not bad or task.bad_rows == "skip":
        return
    lines = [f"{table.name}:{row.line}: {row.problem}" for row in bad[:SHOWN_PROBLEMS]]
    lines[0] = f"task {task.name!r}: {split}: {lines[0]}"
    more = len(bad) - SHOWN_PROBLEMS
    rest = [f"… and {more:,} more rows of {table.name}"] if more > 0 else []
    if split == GIVEN:
        rest.append(
            "Such settings are those of the recipe that the run was trained by, and stay as they "
            f"are: mend these rows of {table.name}, or leave them out of the file."
        )
    raise RecipeError("\n".join([*lines, *rest]))


def after_relabel(problem: str, words: object) -> str:
    """What is wrong with a row, where `words` are what its label was read as another for."""
    return f"{problem}; this is after its `relabel`" if words else problem
