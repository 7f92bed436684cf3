"""What is said where rows of a file cannot be used."""

from collections.abc import Iterator, Sequence

from trivium.errors import RecipeError
from trivium.parts.tasks import Task
from trivium.run.rows.splits import Data, Split
from trivium.text.tables import BadRow, Table

GIVEN = "file"
"""The split of a file that was named beside a trained run: no recipe reads it."""
SHOWN_PROBLEMS = 5
_SKIP = ", or set `bad_rows: skip`"
"""The end of what is said of a bad row; of no help where that is set."""


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


def left_out(task: str, split: Split) -> list[str]:
    """For people: the first rows that are left out (`bad_rows: skip`), and how many more are."""
    lines = [
        f"{task} {split.name}: row left out: {file.place(bad)}: {bad.problem.removesuffix(_SKIP)}"
        for file in split.files
        for bad in file.skipped
    ]
    more = len(lines) - SHOWN_PROBLEMS
    rest = [f"{task} {split.name}: {more:,} more rows left out"] if more > 0 else []
    return lines[:SHOWN_PROBLEMS] + rest


def unused_rows(data: Data) -> Iterator[str]:
    """For people: of rows that a finished run is asked about, those that are left out, and how many
    are used. Nothing of a split whose every row is."""
    for task, splits in data.items():
        for split in splits.values():
            yield from left_out(task, split)
            if not (split.skipped or split.unlabelled):
                continue
            whys = {"cannot be used": split.skipped, "have no label": split.unlabelled}
            told = " and ".join(f"{count:,} {why}" for why, count in whys.items() if count)
            every = split.labelled + split.skipped + split.unlabelled
            yield (
                f"{task} {split.name}: {split.labelled:,} of {every:,} rows of {split.where} are "
                f"used: {told}"
            )


def after_relabel(problem: str, words: object) -> str:
    """What is wrong with a row, where `words` are what its label was read as another for."""
    return f"{problem}; this is after its `relabel`" if words else problem
